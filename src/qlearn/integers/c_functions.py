"""The C functions that emitted networks call: plain loops over codes, C99, nothing but integers (Chapter 9).

Each is written out where a network needs it. Right shifts of negative numbers round down, as on every compiler for
these machines; C99 leaves that to the compiler, so the first line of the file asks.
"""

from __future__ import annotations

__all__ = ["FUNCTIONS", "HEAD", "needed"]

HEAD = """
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns") /* loops stay loops: no call of memcpy or memset */
#endif

typedef char right_shifts_round_down[(-3 >> 1) == -2 ? 1 : -1];
"""

FORMS = """
/* From an integer to its code, for each channel c: the largest q with q << S <= a * M + B; one less where a is the
   first with this q, and q is late. Where S is 255, no line will do: first + how many of the cuts a * M has reached. */
typedef SLOPE Slope;
typedef struct {
  const Slope *M;
  const int64_t *B;
  const uint8_t *S;
  const uint32_t *late_at; /* late codes of channel c: late[late_at[c]] to late[late_at[c + 1] - 1]; 0 for none */
  const uint8_t *late;
  const uint32_t *cut_at; /* cuts, the same; 0 for none */
  const int32_t *cuts;
  uint8_t least, most;
} Forms;

static uint8_t code_of(int32_t a, const Forms *f, int c) {
  int64_t v = (int64_t)a * f->M[c], q;
  if (f->S[c] == 255) {
    q = f->B[c];
    for (uint32_t i = f->cut_at[c]; i < f->cut_at[c + 1]; i++) q += f->cuts[i] <= v;
    return (uint8_t)q;
  }
  v += f->B[c];
  q = v >> f->S[c];
  if (f->late_at && f->late_at[c] < f->late_at[c + 1]) {
    int64_t M = f->M[c] < 0 ? -(int64_t)f->M[c] : f->M[c];
    if ((v & (((int64_t)1 << f->S[c]) - 1)) < M)
      for (uint32_t i = f->late_at[c]; i < f->late_at[c + 1]; i++)
        if (f->late[i] == q) {
          q--;
          break;
        }
  }
  return (uint8_t)(q < f->least ? f->least : q > f->most ? f->most : q);
}
"""

LAYER = """
/* A convolution in up to three dimensions; fewer have lengths of 1, a linear layer one pixel. */
typedef struct {
  int images, groups, into, out_of; /* into, out_of: channels of a group */
  int length[3], kernel[3], stride[3], padding[3], dilation[3], out[3];
  int zero_point;           /* of x */
  const int8_t *w;          /* as PyTorch has them: out_of * groups, into, kernel */
  const int8_t *w_zero_point; /* of each channel; 0 for none */
  const uint32_t *pair_at;  /* pairs of channel o: pairs[2 * pair_at[o]] to pairs[2 * pair_at[o + 1] - 1]; 0 for none */
  const int32_t *pairs;     /* two places among the weights of a channel, or one and -1 */
  int padding_code;         /* what a pair sees in the padding */
  Forms forms;
} Layer;

/* acc[window] = the sum of (x - zero_point) * (w - w_zero_point) over the window, x being zero_point in the padding */
static void add_products(const uint8_t *x, const Layer *l, const int8_t *w, int w_zero_point, int32_t *acc) {
  const int *n = l->length, *out = l->out;
  for (int i = 0; i < out[0] * out[1] * out[2]; i++) acc[i] = 0;
  for (int c = 0; c < l->into; c++, x += n[0] * n[1] * n[2])
    for (int u = 0; u < l->kernel[0]; u++)
      for (int v = 0; v < l->kernel[1]; v++)
        for (int t = 0; t < l->kernel[2]; t++) {
          int32_t factor = *w++ - w_zero_point;
          int first = 0, last = out[2], step = l->stride[2], start = t * l->dilation[2] - l->padding[2];
          while (first < last && start + first * step < 0) first++;
          while (last > first && start + (last - 1) * step >= n[2]) last--;
          for (int d = 0; d < out[0]; d++) {
            int plane = d * l->stride[0] + u * l->dilation[0] - l->padding[0];
            if (plane < 0 || plane >= n[0]) continue;
            for (int i = 0; i < out[1]; i++) {
              int row = i * l->stride[1] + v * l->dilation[1] - l->padding[1];
              if (row < 0 || row >= n[1]) continue;
              const uint8_t *p = x + (plane * n[1] + row) * n[2];
              int32_t *sum = acc + (d * out[1] + i) * out[2];
              if (step == 1)
                for (int j = first; j < last; j++) sum[j] += (p[start + j] - l->zero_point) * factor;
              else
                for (int j = first; j < last; j++) sum[j] += (p[start + j * step] - l->zero_point) * factor;
            }
          }
        }
}
"""

PAIRS = """
/* the product of weight k in the window at (d, i, j), x and w as they are stored */
static int32_t product(const uint8_t *x, const Layer *l, const int8_t *w, int k, int d, int i, int j) {
  const int *n = l->length, *kernel = l->kernel;
  int t = k % kernel[2], v = k / kernel[2] % kernel[1], u = k / (kernel[2] * kernel[1]) % kernel[0];
  int c = k / (kernel[2] * kernel[1] * kernel[0]);
  int plane = d * l->stride[0] + u * l->dilation[0] - l->padding[0];
  int row = i * l->stride[1] + v * l->dilation[1] - l->padding[1];
  int column = j * l->stride[2] + t * l->dilation[2] - l->padding[2];
  int inside = plane >= 0 && plane < n[0] && row >= 0 && row < n[1] && column >= 0 && column < n[2];
  return (inside ? x[((c * n[0] + plane) * n[1] + row) * n[2] + column] : l->padding_code) * w[k];
}

/* acc less what 16 bits lose: the machine adds two products and clamps their sum */
static void clamp_pairs(const uint8_t *x, const Layer *l, const int8_t *w, int o, int32_t *acc) {
  for (uint32_t p = l->pair_at[o]; p < l->pair_at[o + 1]; p++) {
    const int32_t *k = l->pairs + 2 * p;
    int32_t *sum = acc;
    for (int d = 0; d < l->out[0]; d++)
      for (int i = 0; i < l->out[1]; i++)
        for (int j = 0; j < l->out[2]; j++, sum++) {
          int32_t two = product(x, l, w, k[0], d, i, j);
          if (k[1] >= 0) two += product(x, l, w, k[1], d, i, j);
          if (two > 32767) *sum -= two - 32767;
          if (two < -32768) *sum -= two + 32768;
        }
  }
}
"""

RUN_LAYER = """
static int32_t sums[SUMS];

static void layer(const uint8_t *x, uint8_t *y, const Layer *l) {
  int pixels = l->length[0] * l->length[1] * l->length[2], windows = l->out[0] * l->out[1] * l->out[2];
  int weights = l->into * l->kernel[0] * l->kernel[1] * l->kernel[2];
  for (int image = 0; image < l->images; image++)
    for (int group = 0; group < l->groups; group++, x += l->into * pixels)
      for (int m = 0; m < l->out_of; m++, y += windows) {
        int o = group * l->out_of + m;
        const int8_t *w = l->w + o * weights;
        add_products(x, l, w, l->w_zero_point ? l->w_zero_point[o] : 0, sums);
CLAMP        for (int i = 0; i < windows; i++) y[i] = code_of(sums[i], &l->forms, o);
      }
}
"""

CLAMP = "        if (l->pair_at) clamp_pairs(x, l, w, o, sums);\n"

LARGEST = """
/* the largest code of each window; rows and columns: which ones it sees */
static void largest(const uint8_t *x, uint8_t *y, int planes, const int *length, const int *out, const int *kernel,
                    const uint16_t *rows, const uint16_t *columns) {
  for (int plane = 0; plane < planes; plane++, x += length[0] * length[1])
    for (int i = 0; i < out[0]; i++)
      for (int j = 0; j < out[1]; j++) {
        uint8_t most = 0;
        for (int u = 0; u < kernel[0]; u++)
          for (int v = 0; v < kernel[1]; v++) {
            uint8_t q = x[rows[i * kernel[0] + u] * length[1] + columns[j * kernel[1] + v]];
            if (q > most) most = q;
          }
        *y++ = most;
      }
}
"""

FUNCTIONS = {"forms": FORMS, "layer": LAYER, "pairs": PAIRS, "run layer": RUN_LAYER, "largest": LARGEST}


def needed(names: set[str], *, slope: str, sums: int) -> str:
    """The functions of these names, in their order; slope: the type of M; sums: windows of the largest layer."""
    text = "".join(function for name, function in FUNCTIONS.items() if name in names)
    text = text.replace("CLAMP", CLAMP if "pairs" in names else "")
    return text.replace("SLOPE", slope).replace("SUMS", str(sums))
