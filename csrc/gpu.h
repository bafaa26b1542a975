/* GPUs: times of single kernels, from what a data sheet says and a few constants of the generation. Each kernel's own file says what
 * the model is and where it comes from. */
#ifndef HDA_GPU_H
#define HDA_GPU_H

#include "hda.h"

/* Types of the tensor cores' operands. bf16 stands for fp16 as well. */
typedef enum {
    HDA_TYPE_BF16 = 0,
    HDA_TYPE_FP8 = 1,
    HDA_TYPE_INT8 = 2,
    HDA_TYPE_FP4 = 3,
    HDA_TYPE_COUNT = 4,
} hda_type_t;

/* Constants of a generation; which data they were fitted on says the generation's preset, what they mean the kernel's file. */
typedef struct {
    double efficiency; /* of the tensor cores in the main loop */
    double
        feed; /* cycles per row and column of a tile and step of k that operands take beside products */
    double step; /* cycles of dependent work in a step of k, 128 bytes of it, of one block */
    double
        load; /* bytes per cycle that an SM loads for each 1024 multiply-accumulates of bf16 per cycle */
    double dram_share; /* of the DRAM peak, of long streams */
    double l2_share;   /* of the L2 peak, of streams */
    double l2_held;    /* share of L2 that keeps operands from one kernel to the next */
    double
        narrow; /* how much longer the main loop takes in types narrower than bf16 than their rate says */
    double convert;       /* launches that a kernel which converts A takes beside its traffic */
    double convert_split; /* launches that a split k, or a tile of another library, costs then */
    double
        fine; /* 1: a tile may have any multiple of 8 rows of tokens (wgmma and later), 0: powers of two (mma) */
} hda_gpu_gemm_t;

/* Fused attention; gpu_prefill.c and gpu_decode.c say where each stands in the model. Times in seconds, shares of 1. */
typedef struct {
    double launches;   /* of a call in all, in times of one: its own, cache write, metadata */
    double efficiency; /* of the tensor cores inside a block of a tile of 128 query rows */
    double serial; /* share of the shorter of products and softmax that the longer does not hide */
    double key_block;  /* keys per step of the main loop, if shared memory has room for them */
    double prologue;   /* of a prefill CTA, outside its main loop */
    double small_tile; /* products per row in a tile of 64 query rows, relative to one of 128 */
    double tail;    /* what the last wave exposes of the difference of longest and shortest CTA */
    double copy;    /* share of the DRAM peak for queries, outputs and the cache write of prefill */
    double stream;  /* share of the DRAM peak that decode sustains */
    double sm_read; /* share of 64 bytes per cycle that one SM reads by itself */
    double l2_hold; /* share of the L2 that keeps a KV cache from one call to the next */
    double group_cta; /* of a decode CTA for a group of query heads, outside its loop */
    double head_cta;  /* of a decode CTA for one query head */
    double merge;     /* of the parts of a split KV cache, beside what each part takes */
    double
        varlen; /* 1: sequences of different lengths in one call go through FlashAttention-2 (hda_heads_t) */
    double
        library; /* time of decode by vLLM's kernels relative to the fastest library's, which the others describe */
} hda_gpu_attention_t;

typedef struct {
    double efficiency; /* of the tensor cores in the main loop of the grouped GEMMs */
    double bandwidth;  /* share of the DRAM peak at which weights stream */
    double vector;     /* the same of permutation, activation and weighted sum */
    double kernels;    /* of the layer, in launches */
} hda_gpu_experts_t;

typedef struct {
    double efficiency; /* share of the DRAM peak that a long element-wise kernel sustains */
    double l2;         /* the same of the L2 bandwidth */
    double kept;       /* share of L2 whose bytes the kernel need not move from or to DRAM */
    double issue;      /* operations of scalar kernels per SM and cycle */
    double step;       /* seconds of a block's step: load, work, store */
} hda_gpu_vector_t;

/* One GPU. All fields are doubles: an array of them crosses the boundary. Rates per second, times in seconds, sizes in bytes. */
typedef struct {
    double sm_count, clock;
    double macs[HDA_TYPE_COUNT]; /* dense multiply-accumulates per SM and cycle; 0: not supported */
    double lanes;                /* fp32 lanes per SM */
    double exps;                 /* exponentials per SM and cycle */
    double registers, shared_memory; /* per SM */
    double l2_size, l2_bandwidth, l2_latency;
    double dram_bandwidth, dram_latency;
    double launch; /* floor of a kernel inside a CUDA graph */
    double
        sustained; /* bf16 rate of the tensor cores on end in a model, relative to that of GEMMs in the tables */
    hda_gpu_gemm_t gemm;
    hda_gpu_attention_t attention;
    hda_gpu_experts_t experts;
    hda_gpu_vector_t vector;
} hda_gpu_t;

/* C[m, n] = A[m, k] B[k, n]; bytes per element. `type` is what the tensor cores compute in: weights of fewer bytes are widened on the way.
 * `source_bytes`: A has this many before a kernel that converts it to `a_bytes`, 0: there is none. `copies`: matrices like B that are used in
 * turn, so that B is in L2 if all of them fit; 0: B comes from DRAM, as the weights of a model with many layers do. */
typedef struct {
    int64_t m, n, k;
    double a_bytes, b_bytes, c_bytes;
    double source_bytes, copies;
    int64_t type;
} hda_gemm_case_t;

/* `count` sequences that each compute q_len new tokens after `past` cached ones, causally. */
typedef struct {
    int64_t count, q_len, past;
} hda_prompt_t;

/* Fused attention on one device: heads on it, `window` 0 for full attention, `kv_bytes` per cached element, `kv_elements` cached per token (0:
 * kv_heads (key_dim + value_dim); latent attention keeps key_dim, of which the values are a part). `warm` is the share of the cache that the L2 may
 * still hold from the call before: 1 in a benchmark that repeats one call, 0 in a model, whose weights pass through the L2 in between.
 * `varlen` 1: sequences may be of different lengths, and the library is FlashAttention-2 (gpu_prefill.c). */
typedef struct {
    int64_t q_heads, kv_heads, key_dim, value_dim, window;
    double kv_bytes, kv_elements, warm, varlen;
} hda_heads_t;

/* One query token for each of `sequences`, whose contexts (the new token included) are `tokens` together and `longest` at most. */
typedef struct {
    int64_t sequences;
    double tokens, longest;
} hda_decode_t;

/* A fused layer of experts on one device, gate and up projection, activation, down projection: `tokens` arrive, each for `top_k` of `experts`, of
 * which `own` are here, each with an intermediate size of `inter` on this device. `skew` 0: tokens pick experts at random; above 0: loads by a
 * power law with that exponent, and this device is the busiest; below 0: spread evenly. */
typedef struct {
    int64_t tokens, hidden, inter, top_k, experts, own;
    double a_bytes, b_bytes, skew;
    int64_t type;
} hda_experts_case_t;

/* An element-wise kernel or a norm: bytes in all, operations in all (exponentials apart; they count what a thread issues for its elements,
 * addresses and conversions included), `rows` that one block each works through in `width` loads of a thread (one of an element, or of
 * several where a kernel is vectorised; width 0: spread over all SMs), and
 * whether a row is `reduced` (1) before it is written. */
typedef struct {
    double read_bytes, write_bytes, ops, exps, rows, width, reduced;
} hda_vector_case_t;

/* What sets a kernel's time. */
typedef enum {
    HDA_KERNEL_COMPUTE = 0,
    HDA_KERNEL_DRAM = 1,
    HDA_KERNEL_L2 = 2,
    HDA_KERNEL_LATENCY = 3, /* launch, fill and drain, dependent steps */
    HDA_KERNEL_CAUSES = 4,
} hda_kernel_cause_t;

/* Its time, and why. */
typedef struct {
    double time, bound; /* seconds; no implementation gets below `bound` on this GPU */
    double launch, compute, dram, l2; /* seconds that each would take alone */
    double dram_bytes;                /* unique bytes, that must come from or go to DRAM */
    double l2_bytes;                  /* read from L2 by the SMs, and written */
    double macs;                      /* useful ones */
    double tile_m, tile_n, split, waves;
    int64_t cause;
} hda_kernel_t;

/* The type in which the tensor cores compute where `type` is asked for: that, or bf16 if they lack it, into which operands are widened. */
static inline int64_t hda_gpu_type(const hda_gpu_t *gpu, int64_t type) {
    return gpu->macs[type] > 0 ? type : HDA_TYPE_BF16;
}

/* HDA_E_RANGE if something is not finite, negative, or not positive that must be: counts, rates, sizes. */
hda_status_t hda_gpu_check(const hda_gpu_t *gpu);

/* HDA_E_RANGE: a size below 1 or above 2^40, a type that is none; HDA_E_UNDEFINED: neither that nor bf16 is supported. */
hda_status_t hda_gpu_gemm(const hda_gpu_t *gpu, const hda_gemm_case_t *gemm, hda_kernel_t *kernel);
hda_status_t hda_gpu_prefill(const hda_gpu_t *gpu, const hda_heads_t *heads,
                             const hda_prompt_t *prompts, int64_t prompt_count,
                             hda_kernel_t *kernel);
hda_status_t hda_gpu_decode(const hda_gpu_t *gpu, const hda_heads_t *heads,
                            const hda_decode_t *decode, hda_kernel_t *kernel);
hda_status_t hda_gpu_experts(const hda_gpu_t *gpu, const hda_experts_case_t *experts,
                             hda_kernel_t *kernel);
hda_status_t hda_gpu_vector(const hda_gpu_t *gpu, const hda_vector_case_t *vector,
                            hda_kernel_t *kernel);

#endif
