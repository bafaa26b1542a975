# Kernels of a GPU (gpu.h), in bulk: arrays of cases in, an array of `layout.KERNEL` out. Part of _core.pyx.

cdef extern from "gpu.h":
    ctypedef struct hda_gemm_case_t:
        pass
    ctypedef struct hda_heads_t:
        pass
    ctypedef struct hda_prompt_t:
        pass
    ctypedef struct hda_decode_t:
        pass
    ctypedef struct hda_experts_case_t:
        pass
    ctypedef struct hda_vector_case_t:
        pass
    ctypedef struct hda_kernel_t:
        pass
    hda_status_t hda_gpu_gemm(const hda_gpu_t *, const hda_gemm_case_t *, hda_kernel_t *) nogil
    hda_status_t hda_gpu_prefill(const hda_gpu_t *, const hda_heads_t *, const hda_prompt_t *, int64_t, hda_kernel_t *) nogil
    hda_status_t hda_gpu_decode(const hda_gpu_t *, const hda_heads_t *, const hda_decode_t *, hda_kernel_t *) nogil
    hda_status_t hda_gpu_experts(const hda_gpu_t *, const hda_experts_case_t *, hda_kernel_t *) nogil
    hda_status_t hda_gpu_vector(const hda_gpu_t *, const hda_vector_case_t *, hda_kernel_t *) nogil

for _dtype, _size in ((layout.GPU, sizeof(hda_gpu_t)), (layout.GEMM_CASE, sizeof(hda_gemm_case_t)),
                      (layout.HEADS, sizeof(hda_heads_t)), (layout.PROMPT, sizeof(hda_prompt_t)),
                      (layout.DECODE, sizeof(hda_decode_t)), (layout.EXPERTS_CASE, sizeof(hda_experts_case_t)),
                      (layout.VECTOR_CASE, sizeof(hda_vector_case_t)), (layout.KERNEL, sizeof(hda_kernel_t))):
    if _dtype.itemsize != _size:
        raise ImportError(f"layout of {_dtype.names} has {_dtype.itemsize} bytes, the C struct {_size}")


def gpu_gemm(gpu, cases):
    """The kernel of each GEMM (`layout.GEMM_CASE`) on a GPU (`layout.GPU`, one item) as an array of `layout.KERNEL`."""
    cdef int64_t i, count = cases.size
    cdef const hda_gpu_t *device = <const hda_gpu_t *>_address(gpu, layout.GPU, 1)
    cdef const hda_gemm_case_t *data = <const hda_gemm_case_t *>_address(cases, layout.GEMM_CASE)
    result = np.zeros(count, layout.KERNEL)
    cdef hda_kernel_t *out = <hda_kernel_t *>_address(result, layout.KERNEL)
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_gpu_gemm(device, data + i, out + i)
            if status != 0:
                break
    _check(status)
    return result


def gpu_prefill(gpu, heads, prompts, counts=None):
    """Attention of prompts: case i has `heads[i]` and the next `counts[i]` of `prompts` (one each if None)."""
    cdef int64_t i, at = 0, count = heads.size
    each = np.ones(count, np.int64) if counts is None else counts
    cdef const hda_gpu_t *device = <const hda_gpu_t *>_address(gpu, layout.GPU, 1)
    cdef const hda_heads_t *data = <const hda_heads_t *>_address(heads, layout.HEADS)
    cdef const int64_t *own = <const int64_t *>_address(each, np.int64, count)
    if (each < 0).any():
        raise CoreError("counts are 0 or more")
    cdef const hda_prompt_t *prompt = <const hda_prompt_t *>_address(prompts, layout.PROMPT, each.sum())
    result = np.zeros(count, layout.KERNEL)
    cdef hda_kernel_t *out = <hda_kernel_t *>_address(result, layout.KERNEL)
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_gpu_prefill(device, data + i, prompt + at, own[i], out + i)
            if status != 0:
                break
            at += own[i]
    _check(status)
    return result


def gpu_decode(gpu, heads, decodes):
    """Attention of decoding sequences: case i has `heads[i]` and `decodes[i]` (`layout.DECODE`)."""
    cdef int64_t i, count = heads.size
    cdef const hda_gpu_t *device = <const hda_gpu_t *>_address(gpu, layout.GPU, 1)
    cdef const hda_heads_t *data = <const hda_heads_t *>_address(heads, layout.HEADS)
    cdef const hda_decode_t *decode = <const hda_decode_t *>_address(decodes, layout.DECODE, count)
    result = np.zeros(count, layout.KERNEL)
    cdef hda_kernel_t *out = <hda_kernel_t *>_address(result, layout.KERNEL)
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_gpu_decode(device, data + i, decode + i, out + i)
            if status != 0:
                break
    _check(status)
    return result


def gpu_experts(gpu, cases):
    """A fused layer of experts for each case (`layout.EXPERTS_CASE`)."""
    cdef int64_t i, count = cases.size
    cdef const hda_gpu_t *device = <const hda_gpu_t *>_address(gpu, layout.GPU, 1)
    cdef const hda_experts_case_t *data = <const hda_experts_case_t *>_address(cases, layout.EXPERTS_CASE)
    result = np.zeros(count, layout.KERNEL)
    cdef hda_kernel_t *out = <hda_kernel_t *>_address(result, layout.KERNEL)
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_gpu_experts(device, data + i, out + i)
            if status != 0:
                break
    _check(status)
    return result


def gpu_vector(gpu, cases):
    """An element-wise kernel or a norm for each case (`layout.VECTOR_CASE`)."""
    cdef int64_t i, count = cases.size
    cdef const hda_gpu_t *device = <const hda_gpu_t *>_address(gpu, layout.GPU, 1)
    cdef const hda_vector_case_t *data = <const hda_vector_case_t *>_address(cases, layout.VECTOR_CASE)
    result = np.zeros(count, layout.KERNEL)
    cdef hda_kernel_t *out = <hda_kernel_t *>_address(result, layout.KERNEL)
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_gpu_vector(device, data + i, out + i)
            if status != 0:
                break
    _check(status)
    return result
