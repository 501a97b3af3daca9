/* The near end of one session: echo canceller and gate, one call a frame. Called through ctypes, which releases the GIL.
 *
 * `voicefsm/aec/kalman.py` is the only caller, and checks what it passes. No allocation, no global state but tables that are made
 * once by `ear_init`, no I/O. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) /* the processor chooses at load time */
#else
#define FAST
#endif

#include "canceller.h"
#include "gate.h"

#define BOLD 2.0f           /* caution while nobody talks ... */
#define CAREFUL 30.0f       /* ... and while somebody does, */
#define CARELESS 3.0f       /* but not for ever: an echo that is not learnt sounds like a talker, and would never be learnt */
#define CARE_HOPS 200.0f
#define CARE_REGAINED 0.25f
#define DUE_HOPS 2          /* the reference is fed about this much early */
#define LOUDER_MAX 1.25f    /* more power out than in: an echo was taken away that is not there, the loudspeaker stopped */
#define SURE 0.5f
#define EAGER_HOPS 150      /* of audible reference, in which every hop learns from more of the past */
#define EAGER_REUSE 6
#define YOUNG_HOPS 800      /* of audible reference, in which the drift of its clock is still being found */
#define RESTLESS 0.006f
#define SETTLED 0.0002f
#define STEADY_REUSE 1
#define MISSED_HOPS_MAX 40
#define SNAPSHOT_HOPS 50    /* of audible reference between two copies of the filter */
#define NO_REUSE (-1)       /* nothing is learnt at all */
#define LOOK_HOPS 8         /* where there was never an echo: one of these is learnt from all the same */
#define FOUND_MIN 0.3f      /* share of the echo the filter expects that is in the near end where there is one, */
#define FOUND_CHANCE 1e-3f  /* give or take this share of the near end, */
#define FOUND_AVERAGE .004f /* over some 250 hops */
#define NOISE_MIN 100.0f    /* mean square of a near end that is silent */
#define NOISE_FIRST 1e6f    /* high: it falls fast */
#define NOISE_RISE 1.005f   /* per hop: 2 dB a second */
#define NOISE_FALL 0.3f     /* share of the way down per hop */
#define HEARD 4.0f          /* times the noise: something is heard ... */
#define HEARD_HOPS 20       /* ... and may be for so long */

typedef struct {
  Canceller canceller;
  Gate gate;
  Packed snapshot[2][PARTITIONS]; /* the older is at least SNAPSHOT_HOPS old */
  int snapshots, since_snapshot, eager, young;
  int clear;             /* no echo was ever heard on this line */
  int heard;             /* hops left in which the near end may hold more than its noise */
  float noise;           /* its mean square */
  float expected, found; /* of the near end: the share that the filter expects to be echo, and the share of that which was there */
  float care;            /* hops of carefulness left */
  float speech;          /* probability, of the last hop */
} Ear;

typedef struct {
  float near_power, left_power, echo_power, far_power; /* mean squares */
  float speech;                                        /* probability of near-end speech in the last hop */
  float features[FEATURES];                            /* of the last hop */
  float expected_power, fit_power;                     /* mean square of the echo the filter expected; mean of its product with the near end */
} Report;

static Weights weights;

int ear_size(void) { return (int)sizeof(Ear); }
int ear_report_size(void) { return (int)sizeof(Report); }
int ear_weights_size(void) { return (int)sizeof(Weights); }

/* Once a process: tables, and the gate's weights, in the order of `Weights`. */
void ear_init(const float *new_weights) {
  fft_tables();
  gate_tables();
  memcpy(&weights, new_weights, sizeof weights);
}

void ear_reset(Ear *ear) {
  memset(ear, 0, sizeof *ear);
  canceller_reset(&ear->canceller);
  ear->eager = EAGER_HOPS, ear->young = YOUNG_HOPS;
  ear->care = CARE_HOPS / 4;
  ear->noise = NOISE_FIRST;
}

/* The echo's delay had jumped and the reference has followed: what was learnt meanwhile is wrong, what was learnt before is right again. */
void ear_moved(Ear *ear) {
  Canceller *c = &ear->canceller;
  if (ear->snapshots >= 2)
    for (int k = 0; k < PARTITIONS; k++) unpack(&ear->snapshot[ear->snapshots % 2][k], c->filter[k].re, c->filter[k].im);
  ear->snapshots = 0;
  ear->eager = EAGER_HOPS / 3, ear->young = YOUNG_HOPS / 4;
  ear->expected = ear->found = 0;
  for (int k = 0; k < PARTITIONS; k++)
    for (int f = 0; f < FFT_BINS; f++) {
      const float own = c->filter[k].re[f] * c->filter[k].re[f] + c->filter[k].im[f] * c->filter[k].im[f];
      c->variance[k][f] = fmaxf(c->variance[k][f], 0.1f * own);
    }
}

/* The reference had never been in its place: all that was learnt is wrong. */
void ear_forget(Ear *ear) {
  canceller_forget(&ear->canceller);
  ear->snapshots = ear->since_snapshot = ear->clear = 0;
  ear->eager = EAGER_HOPS, ear->young = YOUNG_HOPS;
  ear->expected = ear->found = 0;
}

/* No echo was ever heard on this line: nothing to cancel and nothing to learn, until told to forget. */
void ear_clear(Ear *ear) { ear->clear = 1; }

/* The reference of the last `hops` hops, at most MISSED_HOPS_MAX, was audible already: the client's report of it came late. */
void ear_missed(Ear *ear, const int16_t *far_pcm, int hops) {
  float far[MISSED_HOPS_MAX * HOP];
  if (hops > MISSED_HOPS_MAX) far_pcm += (hops - MISSED_HOPS_MAX) * HOP, hops = MISSED_HOPS_MAX;
  for (int i = 0; i < hops * HOP; i++) far[i] = far_pcm[i];
  canceller_missed(&ear->canceller, far, hops);
}

static void keep_snapshot(Ear *ear) {
  if (++ear->since_snapshot < SNAPSHOT_HOPS) return;
  ear->since_snapshot = 0;
  for (int k = 0; k < PARTITIONS; k++)
    pack(&ear->snapshot[ear->snapshots % 2][k], ear->canceller.filter[k].re, ear->canceller.filter[k].im);
  ear->snapshots++;
}

/* How careful to be with a talker of this probability. Care runs out, and comes back four times slower. */
static float caution(Ear *ear, float speech) {
  ear->care = speech > SURE ? fmaxf(ear->care - 1, 0) : fminf(ear->care + CARE_REGAINED, CARE_HOPS);
  return BOLD + speech * ((ear->care > 0 ? CAREFUL : CARELESS) - BOLD);
}

/* Does the near end hold nothing but noise, and did it for a while? */
static int is_quiet(Ear *ear, float near_power) {
  const float now = fmaxf(near_power, NOISE_MIN);
  ear->noise = now < ear->noise ? ear->noise + NOISE_FALL * (now - ear->noise) : fminf(now, ear->noise * NOISE_RISE);
  ear->heard = now > HEARD * ear->noise ? HEARD_HOPS : ear->heard - (ear->heard > 0);
  return ear->heard == 0;
}

/* How many hops of the past to learn from again. Where the reference was audible for YOUNG_HOPS, what the filter expects (noise and
 * talkers always leave some) was never found, and the near end is quiet, a headset is all that can be learnt once more. An echo that
 * begins later is heard, and learnt as if every hop had been looked at: resting leaves the variance a little larger, never smaller. */
static int reuse(const Ear *ear, int is_quiet) {
  if (ear->clear) return NO_REUSE;
  if (ear->eager > 0) return EAGER_REUSE;
  const int is_headset = is_quiet && ear->young == 0 && ear->found <= FOUND_MIN * ear->expected + FOUND_CHANCE;
  return is_headset && ear->canceller.hops % LOOK_HOPS ? NO_REUSE : STEADY_REUSE;
}

FAST static float mean_product(const float *x, const float *y) {
  float sum = 0;
  for (int i = 0; i < HOP; i++) sum += x[i] * y[i];
  return sum / HOP;
}

static float mean_square(const float *x) { return mean_product(x, x); }

/* What the filter expected in a hop, and whether it was there. Hops of a talker count less: chance makes much of them. */
static void note_fit(Ear *ear, Report *report, const float *near, const float *echo, float near_power) {
  const float expected = mean_square(echo), found = mean_product(near, echo);
  report->expected_power += expected, report->fit_power += found;
  if (expected <= 0) return;
  const float share = FOUND_AVERAGE / (near_power + expected + NOISE_MIN);
  ear->expected += share * expected - FOUND_AVERAGE * ear->expected, ear->found += share * found - FOUND_AVERAGE * ear->found;
}

/* `speech` below 0 lets the gate decide; training says the truth instead. */
static void hop(Ear *ear, const int16_t *near_pcm, const int16_t *far_pcm, int16_t *out, Report *report, float speech) {
  Canceller *c = &ear->canceller;
  Gate *g = &ear->gate;
  float near[HOP], far[HOP], left[HOP], echo[HOP];
  for (int i = 0; i < HOP; i++) near[i] = near_pcm[i], far[i] = far_pcm[i];
  const float restless = ear->young > 0 ? RESTLESS : SETTLED;
  const float near_power = mean_square(near);
  const int again = reuse(ear, is_quiet(ear, near_power));
  canceller_hop(c, near_pcm, far, left, caution(ear, speech < 0 ? ear->speech : speech), restless, again);
  for (int i = 0; i < HOP; i++) echo[i] = near[i] - left[i];
  note_fit(ear, report, near, echo, near_power);
  if (mean_square(left) > LOUDER_MAX * near_power) memcpy(left, near, sizeof left);
  for (int i = 0; i < HOP; i++) {
    echo[i] = near[i] - left[i];
    out[i] = (int16_t)lrintf(fminf(fmaxf(left[i], -32768), 32767));
  }
  if (c->silent == 0) {
    if (ear->eager > 0) ear->eager--;
    if (ear->young > 0) ear->young--;
    keep_snapshot(ear);
  }
  slide(g->left, left, HOP), slide(g->echo, echo, HOP);
  float due_re[FFT_BINS], due_im[FFT_BINS];
  unpack(far_row(c, DUE_HOPS, 0), due_re, due_im);
  gate_features(g, due_re, due_im, c->silent > 2 * PARTITIONS + 4, report->features);
  ear->speech = gate_infer(g, &weights, report->features);
  report->speech = ear->speech;
  report->near_power += near_power, report->left_power += mean_square(left);
  report->echo_power += mean_square(echo), report->far_power += mean_square(far);
}

/* `hops` times 160 samples: near end and reference in, near end without echo out. */
void ear_process(Ear *ear, const int16_t *near, const int16_t *far, int16_t *out, int hops, Report *report, float speech) {
  report->near_power = report->left_power = report->echo_power = report->far_power = 0;
  report->expected_power = report->fit_power = 0;
  for (int i = 0; i < hops; i++) hop(ear, near + HOP * i, far + HOP * i, out + HOP * i, report, speech);
  report->near_power /= hops, report->left_power /= hops, report->echo_power /= hops, report->far_power /= hops;
  report->expected_power /= hops, report->fit_power /= hops;
}
