/* A linear echo canceller: a partitioned-block Kalman filter in the frequency domain.
 *
 * The echo path is PARTITIONS filters of 20 ms, one behind the other, each kept as a spectrum. A hop is 10 ms. For each bin the filter
 * has a variance, how wrong it may still be; its step follows from that and from the power of what the filter cannot explain (near
 * end and noise). So it is fast while it knows little, and barely moves while somebody talks over the echo: nothing switches it.
 *
 * Three things make it better than the textbook form:
 * - the variance shrinks by less than independent observations would allow (`CONFIDENCE`), because hops overlap and speech is
 *   correlated: a filter that believes itself too early stops learning;
 * - each hop also learns again from a few hops of the last `PAST` (`reuse`): speech excites few directions at a time, and the past
 *   has others. This is worth 3-5 dB of ERLE and halves the time to 20 dB;
 * - the caller says how sure it is of a talker (`caution`): the power that cannot be explained then weighs that much more.
 *
 * Everything is in units of one PCM16 step. Memory is one flat struct; nothing is allocated. A process has many of them, and each hop
 * finds little of its own in the cache: what is only read is kept in 16 bits. */
#ifndef VOICEFSM_CANCELLER_H
#define VOICEFSM_CANCELLER_H

#include <stdint.h>
#include <string.h>

#include "fft.h"

enum {
  HOP = 160,              /* 10 ms */
  PARTITION = 320,        /* samples a partition models: two hops, so that every other spectrum serves */
  PARTITIONS = 20,        /* 400 ms */
  PAST = 60,              /* hops that can be learnt from again */
  ROWS = 2 * PARTITIONS + PAST,
  ROW = 272,              /* bins of a row, padded to whole lines of the cache: a vector that lies across two costs twice */
};

#define VALID ((float)HOP / FFT_SIZE) /* share of a block that is error, the rest being zeros */
#define CONFIDENCE 0.5f
#define FORGET 0.8f                   /* of the unexplained power per hop */
#define FLOOR 1e3f                    /* power below which nothing is learnt: a microphone's idle noise */
#define DECAY_DB 2.0f                 /* per partition, of an echo path that is not known yet */

typedef struct {
  float re[ROW], im[ROW];
} Row;

/* A row in half the memory: 96 dB below its highest bin, which is more than any echo canceller takes away. */
typedef struct {
  int16_t re[ROW], im[ROW];
  float unit;
  float padding[15]; /* to a whole line of the cache */
} Packed;

typedef struct {
  Row filter[PARTITIONS];
  float variance[PARTITIONS][ROW];
  Packed far[ROWS];             /* spectra of the reference, a ring */
  int16_t near[PAST][HOP];      /* the microphone, a ring */
  float block[FFT_SIZE];        /* the reference's last samples */
  float unexplained[ROW];
  float mean_power[PARTITIONS]; /* of each partition's filter: what may have changed where it has learnt nothing */
  int at, hops, silent;         /* newest row; hops so far; hops since the reference was last audible */
  int fit;                      /* hops whose rows and near end belong together */
  unsigned dice;
} Canceller;

/* Know nothing of the echo path. */
static void canceller_forget(Canceller *c) {
  memset(c->filter, 0, sizeof c->filter);
  memset(c->mean_power, 0, sizeof c->mean_power);
  for (int k = 0; k < PARTITIONS; k++)
    for (int f = 0; f < FFT_BINS; f++) c->variance[k][f] = powf(10.0f, -DECAY_DB * k / 10);
}

static void canceller_reset(Canceller *c) {
  memset(c, 0, sizeof *c);
  c->silent = ROWS;
  canceller_forget(c);
}

FAST static void pack(Packed *restrict packed, const float *restrict re, const float *restrict im) {
  float highest = 0;
  for (int f = 0; f < FFT_BINS; f++) highest = fmaxf(highest, fmaxf(fabsf(re[f]), fabsf(im[f])));
  packed->unit = highest / 32767;
  const float per_unit = highest > 0 ? 32767 / highest : 0;
  for (int f = 0; f < FFT_BINS; f++) packed->re[f] = (int16_t)lrintf(re[f] * per_unit), packed->im[f] = (int16_t)lrintf(im[f] * per_unit);
}

FAST static void unpack(const Packed *restrict packed, float *restrict re, float *restrict im) {
  for (int f = 0; f < FFT_BINS; f++) re[f] = packed->unit * packed->re[f], im[f] = packed->unit * packed->im[f];
}

/* The row of the reference that partition k of the block `back` hops ago sees. */
static inline const Packed *far_row(const Canceller *c, int back, int k) { return &c->far[(c->at - back - 2 * k + 2 * ROWS) % ROWS]; }

/* The two loops that take most of the time. Their arrays are arguments of their own: behind pointers to structs compilers do not see
 * that they are apart, and then make no vectors of them. */
static inline void predict_partition(float *restrict re, float *restrict im, float *restrict doubt, const float *restrict wr,
                                     const float *restrict wi, const float *restrict p, const int16_t *restrict packed_re,
                                     const int16_t *restrict packed_im, float unit) {
  for (int f = 0; f < ROW; f++) {
    const float xr = unit * packed_re[f], xi = unit * packed_im[f];
    re[f] += wr[f] * xr - wi[f] * xi;
    im[f] += wr[f] * xi + wi[f] * xr;
    doubt[f] += p[f] * (xr * xr + xi * xi);
  }
}

/* Returns the sum of the filter's powers. */
static inline float correct_partition(float *restrict wr, float *restrict wi, float *restrict p, const int16_t *restrict packed_re,
                                      const int16_t *restrict packed_im, float unit, const float *restrict er,
                                      const float *restrict ei, const float *restrict gain, float drift, float spread) {
  const float keep = 1 - drift;
  float sum = 0;
  for (int f = 0; f < ROW; f++) {
    const float xr = unit * packed_re[f], xi = unit * packed_im[f];
    const float g = p[f] * gain[f];
    const float re = wr[f] + g * (xr * er[f] + xi * ei[f]), im = wi[f] + g * (xr * ei[f] - xi * er[f]);
    const float power = re * re + im * im;
    wr[f] = re, wi[f] = im;
    p[f] = keep * p[f] * (1 - CONFIDENCE * VALID * g * (xr * xr + xi * xi)) + drift * power + spread;
    sum += power;
  }
  return sum;
}

/* The echo expected in a block, and the power by which that may be wrong. */
FAST static void predict(const Canceller *c, int back, float *re, float *im, float *doubt) {
  memset(re, 0, sizeof(float) * ROW), memset(im, 0, sizeof(float) * ROW), memset(doubt, 0, sizeof(float) * ROW);
  for (int k = 0; k < PARTITIONS; k++) {
    const Packed *x = far_row(c, back, k);
    const Row *w = &c->filter[k];
    predict_partition(re, im, doubt, w->re, w->im, c->variance[k], x->re, x->im, x->unit);
  }
}

/* Move the filter along what the error says, by `gain` times its variance. `drift` is what may have changed since the last hop. */
FAST static void correct(Canceller *c, int back, const float *er, const float *ei, const float *gain, float drift) {
  for (int k = 0; k < PARTITIONS; k++) {
    const Packed *x = far_row(c, back, k);
    Row *w = &c->filter[k];
    const float spread = drift * c->mean_power[k];
    c->mean_power[k] = correct_partition(w->re, w->im, c->variance[k], x->re, x->im, x->unit, er, ei, gain, drift, spread) / FFT_BINS;
  }
}

/* One block: its error by the present filter (HOP samples), and the correction that follows. `restless` is the share of the filter
 * that the room, or a clock, may have changed since the hop before. */
FAST static void learn(Canceller *c, int back, const int16_t *restrict near, float *restrict error, float caution, float restless) {
  float yr[ROW], yi[ROW], doubt[ROW], er[ROW] = {0}, ei[ROW] = {0}, gain[ROW] = {0}, power[ROW + 2] = {0}, t[FFT_SIZE];
  predict(c, back, yr, yi, doubt);
  fft_inverse(yr, yi, t);
  for (int i = 0; i < HOP; i++) error[i] = near[i] - t[FFT_SIZE - HOP + i];
  memset(t, 0, sizeof t);
  memcpy(t + FFT_SIZE - HOP, error, sizeof(float) * HOP);
  fft_forward(t, er, ei);
  for (int f = 0; f < FFT_BINS; f++) power[f + 1] = er[f] * er[f] + ei[f] * ei[f];
  for (int f = 0; f < FFT_BINS; f++) {
    const float now = (power[f] + power[f + 1] + power[f + 2]) / 3, mean = FORGET * c->unexplained[f] + (1 - FORGET) * now;
    if (back == 0) c->unexplained[f] = mean;
    gain[f] = 1 / (doubt[f] + fmaxf(mean, caution * now) / VALID + FLOOR);
  }
  correct(c, back, er, ei, gain, back == 0 ? restless : 0);
}

/* A partition is 320 samples long: what lies beyond in its spectrum is no filter. One partition a hop, in turn. */
FAST static void constrain(Row *w) {
  float t[FFT_SIZE];
  fft_inverse(w->re, w->im, t);
  memset(t + PARTITION, 0, sizeof(float) * (FFT_SIZE - PARTITION));
  fft_forward(t, w->re, w->im);
}

static void take_far(Canceller *c, const float *far) {
  float loudest = 0;
  memmove(c->block, c->block + HOP, sizeof(float) * (FFT_SIZE - HOP));
  memcpy(c->block + FFT_SIZE - HOP, far, sizeof(float) * HOP);
  for (int i = 0; i < FFT_SIZE; i++) loudest = fmaxf(loudest, fabsf(c->block[i]));
  c->silent = loudest < 1 ? c->silent + 1 : 0;
  c->at = (c->at + 1) % ROWS;
  if (c->silent >= ROWS) return; /* every row is zero already */
  float re[FFT_BINS], im[FFT_BINS];
  fft_forward(c->block, re, im);
  pack(&c->far[c->at], re, im);
}

/* The last hops' reference, which was taken for silence, turns out to have been this: correct the past. */
static void canceller_missed(Canceller *c, const float *far, int hops) {
  c->fit = 0; /* the partitions see up to 400 ms back, and before these hops the reference was wrong as well */
  c->at = (c->at - hops + ROWS) % ROWS;
  memset(c->block, 0, sizeof c->block);
  for (int i = 0; i < hops; i++) take_far(c, far + HOP * i);
}

/* One hop: `error` is the near end without echo. With `reuse` below 0 there is nothing to cancel and nothing to learn. */
FAST static void canceller_hop(Canceller *c, const int16_t *near, const float *far, float *error, float caution, float restless, int reuse) {
  float unused[HOP];
  take_far(c, far);
  memcpy(c->near[c->hops % PAST], near, sizeof(int16_t) * HOP);
  if (reuse < 0 || c->silent >= 2 * PARTITIONS) { /* silent: no echo can be in it */
    for (int i = 0; i < HOP; i++) error[i] = near[i];
    c->hops++, c->fit++;
    return;
  }
  learn(c, 0, near, error, caution, restless);
  for (int i = 0; i < reuse; i++) {
    c->dice = c->dice * 1664525u + 1013904223u;
    const int back = 1 + (int)((c->dice >> 8) % (PAST - 1));
    if (back <= c->fit) learn(c, back, c->near[(c->hops - back) % PAST], unused, caution, 0);
  }
  constrain(&c->filter[c->hops % PARTITIONS]);
  c->hops++, c->fit++;
}

#endif
