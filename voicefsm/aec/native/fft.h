/* Real FFT of 512 samples in split arrays: one complex Stockham radix-4 FFT of 256, and the usual unpacking. */
#ifndef VOICEFSM_FFT_H
#define VOICEFSM_FFT_H

#include <math.h>

enum { FFT_SIZE = 512, FFT_HALF = FFT_SIZE / 2, FFT_BINS = FFT_HALF + 1 };

static float fft_half_re[FFT_HALF], fft_half_im[FFT_HALF]; /* exp(-2 pi i k / 256) */
static float fft_full_re[FFT_HALF], fft_full_im[FFT_HALF]; /* exp(-2 pi i k / 512) */

static void fft_tables(void) {
  const double turn = -2.0 * 3.14159265358979323846;
  for (int k = 0; k < FFT_HALF; k++) {
    fft_half_re[k] = (float)cos(turn * k / FFT_HALF);
    fft_half_im[k] = (float)sin(turn * k / FFT_HALF);
    fft_full_re[k] = (float)cos(turn * k / FFT_SIZE);
    fft_full_im[k] = (float)sin(turn * k / FFT_SIZE);
  }
}

/* In place, natural order in and out. The four passes swap the arrays an even number of times. */
FAST static void fft_complex(float *restrict re, float *restrict im) {
  float other_re[FFT_HALF], other_im[FFT_HALF];
  float *ar = re, *ai = im, *br = other_re, *bi = other_im;
  for (int n = FFT_HALF, s = 1; n > 1; n /= 4, s *= 4) {
    const int m = n / 4;
    for (int p = 0; p < m; p++) {
      const int t = p * s;
      const float w1r = fft_half_re[t], w1i = fft_half_im[t], w2r = fft_half_re[2 * t], w2i = fft_half_im[2 * t];
      const float w3r = fft_half_re[3 * t], w3i = fft_half_im[3 * t];
      const float *x0 = ar + t, *x1 = x0 + s * m, *x2 = x1 + s * m, *x3 = x2 + s * m;
      const float *y0 = ai + t, *y1 = y0 + s * m, *y2 = y1 + s * m, *y3 = y2 + s * m;
      float *u = br + 4 * t, *v = bi + 4 * t;
      for (int q = 0; q < s; q++) {
        const float ar_ = x0[q] + x2[q], ai_ = y0[q] + y2[q], br_ = x0[q] - x2[q], bi_ = y0[q] - y2[q];
        const float cr = x1[q] + x3[q], ci = y1[q] + y3[q], dr = x1[q] - x3[q], di = y1[q] - y3[q];
        const float er = br_ + di, ei = bi_ - dr, fr = ar_ - cr, fi = ai_ - ci, gr = br_ - di, gi = bi_ + dr;
        u[q] = ar_ + cr;
        v[q] = ai_ + ci;
        u[q + s] = er * w1r - ei * w1i;
        v[q + s] = er * w1i + ei * w1r;
        u[q + 2 * s] = fr * w2r - fi * w2i;
        v[q + 2 * s] = fr * w2i + fi * w2r;
        u[q + 3 * s] = gr * w3r - gi * w3i;
        v[q + 3 * s] = gr * w3i + gi * w3r;
      }
    }
    float *swap = ar;
    ar = br, br = swap, swap = ai, ai = bi, bi = swap;
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
