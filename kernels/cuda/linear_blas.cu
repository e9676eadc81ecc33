#include "kernels/cuda/linear_blas.h"

#include <cublasLt.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cuda/dequantise.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr size_t kWorkspaceBytes = 64 << 20;
// Of weights of the compute type, and of a bias before them: a few thousand rows, so that products of a piece still
// fill the device, and about what its second-level cache holds.
constexpr size_t kScratchBytes = 64 << 20;
constexpr int64_t kPieceMultiple = 256;  // rows of a piece, where there are so many: whole tiles
constexpr size_t kMaxAlignment = 256;
constexpr int kThreads = 256;

// A thread per column.
template <class T>
__global__ void __launch_bounds__(kThreads) RoundBiasKernel(const float* bias, int64_t cols, T* out) {
  WaitForPrevious();
  AllowNext();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < cols) out[i] = FromFloat<T>(bias[i]);
}

cudaDataType_t BlasType(DType type) {
  return type == DType::kF32 ? CUDA_R_32F : type == DType::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
}

cudaError_t ErrorOf(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return cudaSuccess;
    case CUBLAS_STATUS_ALLOC_FAILED:
      return cudaErrorMemoryAllocation;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return cudaErrorNotSupported;
    case CUBLAS_STATUS_INVALID_VALUE:
      return cudaErrorInvalidValue;
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return cudaErrorLaunchFailure;
    default:
      return cudaErrorUnknown;
  }
}

uint32_t Alignment(const void* address) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(address) | kMaxAlignment;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

int64_t PaddedColumns(int64_t cols) { return (cols + 7) / 8 * 8; }

// out[M, N] (+)= x[M, K] * weight[N, K]^T: by columns, as cuBLAS sees them, out^T = weight * x^T.
struct Product {
  int64_t m, n, k;
  const void* weight;
  int64_t weight_stride;  // elements between rows
  const void* x;
  void* out;
  int64_t out_stride;
  DType out_type;
  bool accumulate;
  const void* bias;  // of out's type, or null
};

}  // namespace

struct LinearBlas::State {
  // What an algorithm depends on; alignments of weight, x, out.
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, DType, bool, bool, uint32_t, uint32_t, uint32_t>;

  ~State() {
    if (handle != nullptr) cublasLtDestroy(handle);
  }
  cublasStatus_t Multiply(cudaStream_t stream, const Product& product);
  cublasStatus_t FindAlgorithm(const Product& product, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t weight,
                               cublasLtMatrixLayout_t x, cublasLtMatrixLayout_t out, cublasLtMatmulAlgo_t& algorithm);

  DType compute = DType::kBF16;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  unsigned char* scratch = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms;
};

cublasStatus_t LinearBlas::State::FindAlgorithm(const Product& product, cublasLtMatmulDesc_t operation,
                                                cublasLtMatrixLayout_t weight, cublasLtMatrixLayout_t x,
                                                cublasLtMatrixLayout_t out, cublasLtMatmulAlgo_t& algorithm) {
  const uint32_t alignments[] = {Alignment(product.weight), Alignment(product.x), Alignment(product.out)};
  const Key key = {product.m,          product.n,        product.k,          product.weight_stride,
                   product.out_stride, product.out_type, product.accumulate, product.bias != nullptr,
                   alignments[0],      alignments[1],    alignments[2]};
  if (const auto known = algorithms.find(key); known != algorithms.end()) {
    algorithm = known->second;
    return CUBLAS_STATUS_SUCCESS;
  }
  cublasLtMatmulPreferenceOpaque_t preference;
  cublasStatus_t status = cublasLtMatmulPreferenceInit(&preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value);
    }
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  // Partial sums are not to be rounded to 16 bits.
  const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[0]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[1]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[2]);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  status = cublasLtMatmulAlgoGetHeuristic(handle, operation, weight, x, out, out, &preference, 1, &result, &found);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (found == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (result.state != CUBLAS_STATUS_SUCCESS) return result.state;
  algorithm = result.algo;
  algorithms.emplace(key, algorithm);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t LinearBlas::State::Multiply(cudaStream_t stream, const Product& product) {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t weight, x, out;
  cublasStatus_t status = cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const auto then = [&status](auto&& call) {
    if (status == CUBLAS_STATUS_SUCCESS) status = call();
  };
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    then([&] { return cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof value); });
  };
  const cublasOperation_t transposed = CUBLAS_OP_T;
  set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
  if (product.bias != nullptr) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
    const cudaDataType_t type = BlasType(product.out_type);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
  }
  const cudaDataType_t type = BlasType(compute);
  then([&] {
    return cublasLtMatrixLayoutInit(&weight, type, static_cast<uint64_t>(product.k), static_cast<uint64_t>(product.n),
                                    product.weight_stride);
  });
  then([&] {
    return cublasLtMatrixLayoutInit(&x, type, static_cast<uint64_t>(product.k), static_cast<uint64_t>(product.m),
                                    product.k);
  });
  then([&] {
    return cublasLtMatrixLayoutInit(&out, BlasType(product.out_type), static_cast<uint64_t>(product.n),
                                    static_cast<uint64_t>(product.m), product.out_stride);
  });
  cublasLtMatmulAlgo_t algorithm;
  then([&] { return FindAlgorithm(product, &operation, &weight, &x, &out, algorithm); });
  const float one = 1, beta = product.accumulate ? 1 : 0;
  then([&] {
    return cublasLtMatmul(handle, &operation, &one, product.weight, &weight, product.x, &x, &beta, product.out, &out,
                          product.out, &out, &algorithm, workspace, kWorkspaceBytes, stream);
  });
  return status;
}

absl::StatusOr<std::unique_ptr<LinearBlas>> LinearBlas::Create(Stream& stream, DeviceMemory& memory, DType compute) {
  CASCADE_CHECK(compute == DType::kBF16 || compute == DType::kF16);
  auto state = std::make_unique<State>();
  state->compute = compute;
  if (const cublasStatus_t status = cublasLtCreate(&state->handle); status != CUBLAS_STATUS_SUCCESS) {
    return absl::InternalError(absl::StrCat("cuBLASLt does not start: ", cublasLtGetStatusString(status)));
  }
  absl::StatusOr<void*> workspace = memory.Allocate("linear layers", kWorkspaceBytes);
  if (!workspace.ok()) return workspace.status();
  state->workspace = *workspace;
  absl::StatusOr<unsigned char*> scratch = memory.AllocateArray<unsigned char>("linear layers", kScratchBytes);
  if (!scratch.ok()) return scratch.status();
  state->scratch = *scratch;
  return std::unique_ptr<LinearBlas>(new LinearBlas(std::move(state)));
}

LinearBlas::LinearBlas(std::unique_ptr<State> state) : state_(std::move(state)) {}
LinearBlas::~LinearBlas() = default;

void LinearBlas::Reserve(const DeviceWeight& weight) {
  const size_t row_bytes = static_cast<size_t>(PaddedColumns(weight.cols)) * sizeof(uint16_t);
  CASCADE_CHECK(row_bytes <= kScratchBytes / 2 &&
                static_cast<size_t>(weight.rows) * sizeof(uint16_t) <= kScratchBytes / 2);
}

void LinearBlas::Run(Stream& stream, TensorView x, const LinearCall& call) {
  const DeviceWeight& weight = *call.weight;
  const TensorView& out = call.out;
  CASCADE_CHECK(x.type == state_->compute && x.cols == weight.cols && out.rows == x.rows && out.cols == weight.rows);
  CASCADE_CHECK(out.type == DType::kF32 || (out.type == state_->compute && !call.accumulate));
  CASCADE_CHECK(weight.data != nullptr && !(call.accumulate && call.bias != nullptr));
  if (x.rows == 0 || stream.failed()) return;

  const void* bias = call.bias;
  unsigned char* scratch = state_->scratch;
  if (bias != nullptr && out.type != DType::kF32) {
    const LaunchShape shape = {.grid = dim3(static_cast<unsigned>((weight.rows + kThreads - 1) / kThreads)),
                               .block = dim3(kThreads),
                               .overlap = true};
    if (out.type == DType::kBF16) {
      stream.Launch("Linear", RoundBiasKernel<Bf16>, shape, call.bias, weight.rows, reinterpret_cast<Bf16*>(scratch));
    } else {
      stream.Launch("Linear", RoundBiasKernel<Half>, shape, call.bias, weight.rows, reinterpret_cast<Half*>(scratch));
    }
    bias = scratch;
    const size_t bytes = static_cast<size_t>(weight.rows) * sizeof(uint16_t);
    scratch += (bytes + kMaxAlignment - 1) / kMaxAlignment * kMaxAlignment;
  }

  const int64_t out_element = static_cast<int64_t>(RowBytes(out.type, 1));
  const bool as_is = weight.format == FormatOfType(state_->compute);
  const int64_t padded = PaddedColumns(weight.cols);
  int64_t rows_at_once = weight.rows;
  if (!as_is) {
    const int64_t room =
        (state_->scratch + kScratchBytes - scratch) / (padded * static_cast<int64_t>(sizeof(uint16_t)));
    rows_at_once = std::min(rows_at_once, room < kPieceMultiple ? room : room / kPieceMultiple * kPieceMultiple);
    CASCADE_CHECK(rows_at_once > 0);  // Reserve
  }
  for (int64_t first = 0; first < weight.rows && !stream.failed(); first += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, weight.rows - first);
    if (!as_is) Dequantise(stream, weight, first, {scratch, state_->compute, rows, padded});
    const Product product = {
        .m = x.rows,
        .n = rows,
        .k = weight.cols,
        .weight = as_is ? weight.data : scratch,
        .weight_stride = as_is ? weight.row_bytes / static_cast<int64_t>(sizeof(uint16_t)) : padded,
        .x = x.data,
        .out = static_cast<unsigned char*>(out.data) + first * out_element,
        .out_stride = out.cols,
        .out_type = out.type,
        .accumulate = call.accumulate,
        .bias = bias == nullptr ? nullptr : static_cast<const unsigned char*>(bias) + first * out_element};
    stream.Check("Linear", ErrorOf(state_->Multiply(stream.get(), product)));
  }
}

}  // namespace cascade::kernels::cuda
