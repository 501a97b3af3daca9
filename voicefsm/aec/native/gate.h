/* Who is speaking? A small recurrent network looks at each hop of 10 ms and says how likely near-end speech is in it.
 *
 * It sees, in BANDS bands: what the canceller left, and how far that stands above its own floor; what it took for echo; the near end as
 * it was (more is left than there was: the echo is not where it is expected); the loudest recent reference (an echo that the filter
 * does not model decays with the room); how coherent what is left is with the echo and with the reference (residual echo is, a talker is
 * not), and the sign of the former (negative: too much was taken away). One dense layer, one GRU, one output. The weights come from
 * training/gate. */
#ifndef VOICEFSM_GATE_H
#define VOICEFSM_GATE_H

#include <string.h>

#include "fft.h"

enum { BANDS = 20, FEATURES = 8 * BANDS, DENSE = 32, UNITS = 48 };

static const int BAND_EDGES[BANDS + 1] = {3, 5, 7, 9, 11, 14, 17, 20, 24, 28, 33, 39, 46, 55, 66, 79, 95, 115, 140, 175, 230};

#define QUIET 100.0f          /* band power of quantisation noise */
#define FAR_DECAY 0.1f        /* log10 of power per hop: 100 dB a second, an RT60 of 0.6 s */
#define FLOOR_RISE 0.002f     /* log10 of power per hop: 2 dB a second */
#define FLOOR_FALL 0.3f       /* share of the way down per hop */
#define COHERENCE_KEEP 0.8f

typedef struct {
  float dense[FEATURES][DENSE], dense_bias[DENSE];
  float input[DENSE][3 * UNITS], input_bias[3 * UNITS]; /* gates in the order reset, update, new */
  float hidden[UNITS][3 * UNITS], hidden_bias[3 * UNITS];
  float output[UNITS], output_bias;
} Weights;

typedef struct {
  float left[FFT_SIZE], echo[FFT_SIZE]; /* last samples of what was left and of what was taken away */
  float far[BANDS], floor[BANDS];
  float echo_re[BANDS], echo_im[BANDS], far_re[BANDS], far_im[BANDS]; /* cross spectra with what is left, smoothed */
  float left_power[BANDS], echo_power[BANDS], far_power[BANDS];
  float state[UNITS];
  int hops;
} Gate;

static float gate_window[FFT_SIZE];

static void gate_tables(void) {
  for (int i = 0; i < FFT_SIZE; i++) gate_window[i] = 0.5f - 0.5f * (float)cos(2 * 3.14159265358979323846 * (i + 0.5) / FFT_SIZE);
}

static void slide(float *history, const float *hop, int count) {
  memmove(history, history + count, sizeof(float) * (size_t)(FFT_SIZE - count));
  memcpy(history + FFT_SIZE - count, hop, sizeof(float) * (size_t)count);
}

FAST static void windowed_spectrum(const float *restrict samples, float *restrict re, float *restrict im) {
  float t[FFT_SIZE];
  for (int i = 0; i < FFT_SIZE; i++) t[i] = samples[i] * gate_window[i];
  fft_forward(t, re, im);
}

/* Denormal numbers are slow, and silence would end in them. */
static float smooth(float *mean, float value) {
  const float next = *mean + (1 - COHERENCE_KEEP) * (value - *mean);
  return *mean = fabsf(next) < 1e-12f ? 0 : next;
}

/* Powers and cross powers of one band, per bin. */
typedef struct {
  float left, echo, near, far, echo_re, echo_im, far_re, far_im;
} Band;

FAST static Band band_of(int b, const float *er, const float *ei, const float *yr, const float *yi, const float *xr, const float *xi) {
  Band s = {0};
  for (int f = BAND_EDGES[b]; f < BAND_EDGES[b + 1]; f++) {
    const float nr = er[f] + yr[f], ni = ei[f] + yi[f];
    s.left += er[f] * er[f] + ei[f] * ei[f];
    s.echo += yr[f] * yr[f] + yi[f] * yi[f];
    s.near += nr * nr + ni * ni;
    s.far += xr[f] * xr[f] + xi[f] * xi[f];
    s.echo_re += er[f] * yr[f] + ei[f] * yi[f];
    s.echo_im += ei[f] * yr[f] - er[f] * yi[f];
    s.far_re += er[f] * xr[f] + ei[f] * xi[f];
    s.far_im += ei[f] * xr[f] - er[f] * xi[f];
  }
  const float share = 1.0f / (BAND_EDGES[b + 1] - BAND_EDGES[b]);
  s.left *= share, s.echo *= share, s.near *= share, s.far *= share;
  s.echo_re *= share, s.echo_im *= share, s.far_re *= share, s.far_im *= share;
  return s;
}

static float coherence(float re, float im, float power, float other) { return (re * re + im * im) / (power * other + QUIET * QUIET); }

/* What the network sees of a hop: FEATURES numbers of about unit size. `far` is the spectrum of the reference whose echo is due now. */
FAST static void gate_features(Gate *g, const float *far_re, const float *far_im, int is_echo_silent, float *restrict out) {
  float er[FFT_BINS], ei[FFT_BINS], yr[FFT_BINS] = {0}, yi[FFT_BINS] = {0};
  windowed_spectrum(g->left, er, ei);
  if (!is_echo_silent) windowed_spectrum(g->echo, yr, yi);
  for (int b = 0; b < BANDS; b++, out++) {
    const Band s = band_of(b, er, ei, yr, yi, far_re, far_im);
    const float level = log10f(s.left + QUIET);
    const float left = smooth(&g->left_power[b], s.left), echo = smooth(&g->echo_power[b], s.echo), far = smooth(&g->far_power[b], s.far);
    const float echo_re = smooth(&g->echo_re[b], s.echo_re), echo_im = smooth(&g->echo_im[b], s.echo_im);
    const float with_far_re = smooth(&g->far_re[b], s.far_re), with_far_im = smooth(&g->far_im[b], s.far_im);
    g->far[b] = fmaxf(log10f(s.far + QUIET), g->far[b] - FAR_DECAY);
    if (g->hops == 0) g->floor[b] = level;
    g->floor[b] = level < g->floor[b] ? g->floor[b] + FLOOR_FALL * (level - g->floor[b]) : fminf(level, g->floor[b] + FLOOR_RISE);
    out[0] = level / 2 - 3;
    out[BANDS] = log10f(s.echo + QUIET) / 2 - 3;
    out[2 * BANDS] = g->far[b] / 2 - 3;
    out[3 * BANDS] = log10f(s.near + QUIET) / 2 - 3;
    out[4 * BANDS] = fminf(level - g->floor[b], 4);
    out[5 * BANDS] = coherence(echo_re, echo_im, left, echo);
    out[6 * BANDS] = echo_re / (sqrtf(left * echo) + QUIET);
    out[7 * BANDS] = coherence(with_far_re, with_far_im, left, far);
  }
  g->hops++;
}

/* exp, to 2e-7: 2^n by the exponent's bits, 2^fraction by a polynomial. Simple enough for a compiler to vectorise. */
static inline float quick_exp(float x) {
  union { float f; int i; } power;
  const float t = fminf(fmaxf(x, -80), 80) * 1.44269504f, n = floorf(t + 0.5f), u = (t - n) * 0.69314718f;
  power.i = ((int)n + 127) << 23;
  return power.f * (1 + u * (1 + u * (0.5f + u * (0.166666667f + u * (0.0416666667f + u * (0.00833333333f + u * 0.00138888889f))))));
}

static inline float sigmoid(float x) { return 1 / (1 + quick_exp(-x)); }

/* sum += x * matrix */
FAST static void accumulate(float *restrict sum, const float *restrict x, const float *restrict matrix, int rows, int columns) {
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) sum[j] += x[i] * matrix[i * columns + j];
}

/* The probability of near-end speech in the hop whose features these are. */
FAST static float gate_infer(Gate *g, const Weights *w, const float *features) {
  float dense[DENSE], input[3 * UNITS], hidden[3 * UNITS], sum = w->output_bias;
  memcpy(dense, w->dense_bias, sizeof dense), memcpy(input, w->input_bias, sizeof input), memcpy(hidden, w->hidden_bias, sizeof hidden);
  accumulate(dense, features, &w->dense[0][0], FEATURES, DENSE);
  for (int i = 0; i < DENSE; i++) dense[i] = fmaxf(dense[i], 0);
  accumulate(input, dense, &w->input[0][0], DENSE, 3 * UNITS);
  accumulate(hidden, g->state, &w->hidden[0][0], UNITS, 3 * UNITS);
  for (int i = 0; i < UNITS; i++) {
    const float reset = sigmoid(input[i] + hidden[i]), update = sigmoid(input[UNITS + i] + hidden[UNITS + i]);
    const float fresh = 2 * sigmoid(2 * (input[2 * UNITS + i] + reset * hidden[2 * UNITS + i])) - 1; /* tanh */
    g->state[i] += (1 - update) * (fresh - g->state[i]);
    sum += g->state[i] * w->output[i];
  }
  return sigmoid(sum);
}

#endif
