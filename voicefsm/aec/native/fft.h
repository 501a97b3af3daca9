/* Real FFT of 512 samples in split arrays: one complex FFT of 256, and the usual unpacking.
 *
 * 256 = 16 * 16: sixteen FFTs of 16 side by side, twiddles, a transposition, and sixteen once more. Side by side means that each
 * operation is done on rows of 16 neighbours, which compilers turn into vectors of any width; a plain Stockham FFT leaves half of its
 * passes to scalars, and took three times as long (docs/performance.md). */
#ifndef VOICEFSM_FFT_H
#define VOICEFSM_FFT_H

#include <math.h>
#include <string.h>

enum { FFT_SIZE = 512, FFT_HALF = FFT_SIZE / 2, FFT_BINS = FFT_HALF + 1, FFT_SIDE = 16 };

static float fft_twiddle_re[FFT_HALF], fft_twiddle_im[FFT_HALF]; /* exp(-2 pi i row column / 256) */
static float fft_full_re[FFT_HALF], fft_full_im[FFT_HALF];       /* exp(-2 pi i k / 512) */

static void fft_tables(void) {
  const double turn = -2.0 * 3.14159265358979323846;
  for (int k = 0; k < FFT_HALF; k++) {
    const int product = (k / FFT_SIDE) * (k % FFT_SIDE);
    fft_twiddle_re[k] = (float)cos(turn * product / FFT_HALF);
    fft_twiddle_im[k] = (float)sin(turn * product / FFT_HALF);
    fft_full_re[k] = (float)cos(turn * k / FFT_SIZE);
    fft_full_im[k] = (float)sin(turn * k / FFT_SIZE);
  }
}

/* For each of 16 columns: an FFT of 4 over the rows 0, step, 2 step and 3 step, in place, times the given constants. */
static inline void fft_rows4(float *restrict re, float *restrict im, int step, const float *restrict wr, const float *restrict wi) {
  float *restrict r0 = re, *restrict r1 = re + step, *restrict r2 = re + 2 * step, *restrict r3 = re + 3 * step;
  float *restrict i0 = im, *restrict i1 = im + step, *restrict i2 = im + 2 * step, *restrict i3 = im + 3 * step;
  for (int c = 0; c < FFT_SIDE; c++) {
    const float ar = r0[c] + r2[c], ai = i0[c] + i2[c], br = r0[c] - r2[c], bi = i0[c] - i2[c];
    const float cr = r1[c] + r3[c], ci = i1[c] + i3[c], dr = r1[c] - r3[c], di = i1[c] - i3[c];
    const float er = br + di, ei = bi - dr, fr = ar - cr, fi = ai - ci, gr = br - di, gi = bi + dr;
    r0[c] = ar + cr, i0[c] = ai + ci;
    r1[c] = er * wr[1] - ei * wi[1], i1[c] = er * wi[1] + ei * wr[1];
    r2[c] = fr * wr[2] - fi * wi[2], i2[c] = fr * wi[2] + fi * wr[2];
    r3[c] = gr * wr[3] - gi * wi[3], i3[c] = gr * wi[3] + gi * wr[3];
  }
}

/* exp(-2 pi i j k / 16) for j, k < 4 */
#define FFT_C1 0.92387953251128674f
#define FFT_S1 0.38268343236508977f
#define FFT_R2 0.70710678118654752f
static const float fft_16_re[4][4] = {{1, 1, 1, 1}, {1, FFT_C1, FFT_R2, FFT_S1}, {1, FFT_R2, 0, -FFT_R2}, {1, FFT_S1, -FFT_R2, -FFT_C1}};
static const float fft_16_im[4][4] = {{0, 0, 0, 0}, {0, -FFT_S1, -FFT_R2, -FFT_C1}, {0, -FFT_R2, -1, -FFT_R2}, {0, -FFT_C1, -FFT_R2, FFT_S1}};

/* Of each of 16 columns of a 16 x 16 matrix: its FFT. Row 4 a + b of the outcome is line 4 b + a of the spectrum. */
static inline void fft_columns(float *restrict re, float *restrict im) {
  for (int n = 0; n < 4; n++) fft_rows4(re + FFT_SIDE * n, im + FFT_SIDE * n, 4 * FFT_SIDE, fft_16_re[n], fft_16_im[n]);
  for (int k = 0; k < 4; k++) fft_rows4(re + 4 * FFT_SIDE * k, im + 4 * FFT_SIDE * k, FFT_SIDE, fft_16_re[0], fft_16_im[0]);
}

static inline int fft_line(int row) { return row % 4 * 4 + row / 4; }

/* Natural order in and out, in place. */
FAST static void fft_complex(float *restrict re, float *restrict im) {
  float other_re[FFT_HALF], other_im[FFT_HALF];
  fft_columns(re, im);
  for (int row = 0; row < FFT_SIDE; row++) {
    const int line = fft_line(row);
    const float *restrict xr = re + FFT_SIDE * row, *restrict xi = im + FFT_SIDE * row;
    const float *restrict wr = fft_twiddle_re + FFT_SIDE * line, *restrict wi = fft_twiddle_im + FFT_SIDE * line;
    for (int c = 0; c < FFT_SIDE; c++) {
      other_re[FFT_SIDE * c + line] = xr[c] * wr[c] - xi[c] * wi[c];
      other_im[FFT_SIDE * c + line] = xr[c] * wi[c] + xi[c] * wr[c];
    }
  }
  fft_columns(other_re, other_im);
  for (int row = 0; row < FFT_SIDE; row++) {
    memcpy(re + FFT_SIDE * fft_line(row), other_re + FFT_SIDE * row, sizeof(float) * FFT_SIDE);
    memcpy(im + FFT_SIDE * fft_line(row), other_im + FFT_SIDE * row, sizeof(float) * FFT_SIDE);
  }
}

/* 512 samples to 257 bins. */
FAST static void fft_forward(const float *restrict in, float *restrict re, float *restrict im) {
  float zr[FFT_HALF], zi[FFT_HALF];
  for (int i = 0; i < FFT_HALF; i++) zr[i] = in[2 * i], zi[i] = in[2 * i + 1];
  fft_complex(zr, zi);
  re[0] = zr[0] + zi[0], im[0] = 0;
  re[FFT_HALF] = zr[0] - zi[0], im[FFT_HALF] = 0;
  for (int k = 1; k < FFT_HALF; k++) {
    const float ar = zr[k], ai = zi[k], br = zr[FFT_HALF - k], bi = -zi[FFT_HALF - k];
    const float even_r = 0.5f * (ar + br), even_i = 0.5f * (ai + bi), odd_r = 0.5f * (ai - bi), odd_i = -0.5f * (ar - br);
    re[k] = even_r + odd_r * fft_full_re[k] - odd_i * fft_full_im[k];
    im[k] = even_i + odd_r * fft_full_im[k] + odd_i * fft_full_re[k];
  }
}

/* 257 bins to 512 samples. */
FAST static void fft_inverse(const float *restrict re, const float *restrict im, float *restrict out) {
  float zr[FFT_HALF], zi[FFT_HALF];
  const float scale = 1.0f / FFT_SIZE;
  for (int k = 0; k < FFT_HALF; k++) {
    const float ar = re[k], ai = im[k], br = re[FFT_HALF - k], bi = -im[FFT_HALF - k];
    const float odd_r = (ar - br) * fft_full_re[k] + (ai - bi) * fft_full_im[k];
    const float odd_i = (ai - bi) * fft_full_re[k] - (ar - br) * fft_full_im[k];
    zr[k] = ar + br - odd_i, zi[k] = -(ai + bi + odd_r); /* conjugated: a forward transform then inverts */
  }
  fft_complex(zr, zi);
  for (int i = 0; i < FFT_HALF; i++) out[2 * i] = zr[i] * scale, out[2 * i + 1] = -zi[i] * scale;
}

#endif
