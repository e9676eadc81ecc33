#include "engine/cache/cascade_geometry.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cascade {
namespace {

constexpr int64_t kMaxStride = 4096;
constexpr int64_t kMaxSelectionGroup = 64;
constexpr int64_t kMaxDefaultCacheTokens = 4096;
constexpr int64_t kMaxCacheTokens = int64_t{1} << 26;  // keeps every product of slots and bytes far inside 64 bits
constexpr int64_t kMaxSinks = 4096;
constexpr int kMaxSubCaches = 16;

int64_t LargestSelectionGroup(int64_t stride, int num_sub_caches) {
  int64_t group = kMaxSelectionGroup;
  while (group > 1 && stride % (group << (num_sub_caches - 1)) != 0) group /= 2;
  return group;
}

// S: the width of an equal sub-cache, halved until it is at most a quarter of the cache.
int64_t DefaultStride(int64_t cache_tokens, int64_t width) {
  int64_t stride = width;
  while (stride > std::min(cache_tokens / 4, kMaxStride) && stride % 2 == 0) stride /= 2;
  return stride;
}

// Unequal sub-caches have no width; the largest stride that all of them allow.
int64_t LargestStride(const std::vector<int>& sub_cache_tokens, int64_t cache_tokens) {
  const int n = static_cast<int>(sub_cache_tokens.size());
  for (int64_t stride = std::min(cache_tokens / 4, kMaxStride); stride > 1; --stride) {
    bool fits = cache_tokens % stride == 0 && stride % (int64_t{1} << (n - 1)) == 0;
    for (int i = 0; fits && i < n; ++i) fits = sub_cache_tokens[i] % std::max<int64_t>(1, stride >> i) == 0;
    if (fits) return stride;
  }
  return 1;
}

struct Resolved {
  int num_sub_caches = 4;
  int num_sinks = 4;
  kernels::Selection selection = kernels::Selection::kBoth;
  kernels::ScoreReduction reduction = kernels::ScoreReduction::kMean;
};

CascadeGeometry Equal(const GeometryOptions& options, const Resolved& resolved, int64_t cache_tokens) {
  CascadeGeometry geometry;
  const int n = resolved.num_sub_caches;
  geometry.num_sinks = resolved.num_sinks;
  geometry.selection = resolved.selection;
  geometry.score_reduction = resolved.reduction;
  geometry.ema_decay = options.ema_decay;
  geometry.sub_cache_tokens.assign(static_cast<size_t>(n), static_cast<int>(cache_tokens / n));
  geometry.stride = static_cast<int>(options.stride > 0 ? options.stride : DefaultStride(cache_tokens, cache_tokens / n));
  const int64_t group = options.policy == "paper" ? 1 : options.selection_group;
  geometry.selection_group = static_cast<int>(group > 0 ? group : LargestSelectionGroup(geometry.stride, n));
  return geometry;
}

bool Works(const GeometryOptions& options, const Resolved& resolved, int64_t cache_tokens, int64_t max_positions) {
  if (cache_tokens < resolved.num_sub_caches || cache_tokens % resolved.num_sub_caches != 0) return false;
  const CascadeGeometry geometry = Equal(options, resolved, cache_tokens);
  return geometry.Validate().ok() && geometry.slots() <= max_positions;
}

std::string NearestValid(const GeometryOptions& options, const Resolved& resolved, int64_t wanted, int64_t max_positions) {
  std::vector<std::string> found;
  for (int64_t c = std::min(wanted, max_positions); c > 0; --c) {
    if (Works(options, resolved, c, max_positions)) {
      found.push_back(absl::StrCat(c));
      break;
    }
  }
  for (int64_t c = wanted + 1; c <= std::min(max_positions, 2 * wanted + 1024); ++c) {
    if (Works(options, resolved, c, max_positions)) {
      found.push_back(absl::StrCat(c));
      break;
    }
  }
  if (found.empty()) return "no size is valid with the other options";
  return absl::StrCat("nearest valid: ", absl::StrJoin(found, " or "));
}

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

absl::StatusOr<Resolved> Resolve(const GeometryOptions& options) {
  Resolved resolved;
  if (options.policy != "cascade" && options.policy != "paper" && options.policy != "window") {
    return Invalid(absl::StrCat("--cache-policy must be cascade, paper or window, got \"", options.policy, "\""));
  }
  const int64_t n = options.num_sub_caches;
  if (n < 0 || n > kMaxSubCaches) {
    return Invalid(absl::StrCat("--sub-caches must be in [1, ", kMaxSubCaches, "], got ", n));
  }
  const bool window = options.policy == "window";
  if (window && (n > 1 || options.sub_cache_tokens.size() > 1)) {
    return Invalid("--cache-policy window has one sub-cache; --sub-caches or --sub-cache-tokens ask for more");
  }
  if (window && !options.selection.empty()) {
    return Invalid(absl::StrCat("--cache-policy window selects nothing; --selection ", options.selection,
                                " contradicts it"));
  }
  resolved.num_sub_caches = n > 0 ? static_cast<int>(n) : (window ? 1 : 4);
  if (options.num_sinks < -1 || options.num_sinks > kMaxSinks) {
    return Invalid(absl::StrCat("--sinks must be in [0, ", kMaxSinks, "], got ", options.num_sinks));
  }
  if (options.num_sinks >= 0) resolved.num_sinks = static_cast<int>(options.num_sinks);

  const bool paper = options.policy == "paper";
  if (paper && !options.selection.empty() && options.selection != "attention") {
    return Invalid(absl::StrCat("--cache-policy paper selects by attention; --selection ", options.selection,
                                " contradicts it"));
  }
  if (paper && options.selection_group > 1) {
    return Invalid(absl::StrCat("--cache-policy paper has --selection-group 1; ", options.selection_group,
                                " contradicts it"));
  }
  if (paper || options.selection == "attention") {
    resolved.selection = kernels::Selection::kAttention;
  } else if (options.selection == "distinctness") {
    resolved.selection = kernels::Selection::kDistinctness;
  } else if (!options.selection.empty() && options.selection != "both") {
    return Invalid(absl::StrCat("--selection must be both, attention or distinctness, got \"", options.selection, "\""));
  }
  if (options.score_reduction == "max") {
    resolved.reduction = kernels::ScoreReduction::kMax;
  } else if (options.score_reduction != "mean") {
    return Invalid(absl::StrCat("--score-reduction must be mean or max, got \"", options.score_reduction, "\""));
  }
  if (!(options.ema_decay > 0.0 && options.ema_decay <= 1.0)) {
    return Invalid(absl::StrCat("--ema-decay must be in (0, 1], got ", options.ema_decay));
  }
  if (options.stride < 0 || options.stride > kMaxCacheTokens) {
    return Invalid(absl::StrCat("--stride must be positive, got ", options.stride));
  }
  if (options.selection_group < 0 || options.selection_group > kMaxSelectionGroup) {
    return Invalid(absl::StrCat("--selection-group must be a power of two in [1, ", kMaxSelectionGroup, "], got ",
                                options.selection_group));
  }
  return resolved;
}

absl::StatusOr<CascadeGeometry> Unequal(const GeometryOptions& options, const Resolved& resolved) {
  if (options.cache_tokens > 0) return Invalid("--cache-tokens and --sub-cache-tokens contradict each other; give one");
  const size_t n = options.sub_cache_tokens.size();
  if (options.num_sub_caches > 0 && options.num_sub_caches != static_cast<int64_t>(n)) {
    return Invalid(absl::StrCat("--sub-cache-tokens names ", n, " sub-caches, --sub-caches ", options.num_sub_caches));
  }
  if (n > kMaxSubCaches) return Invalid(absl::StrCat("--sub-cache-tokens has ", n, " sizes; at most ", kMaxSubCaches));
  CascadeGeometry geometry;
  geometry.num_sinks = resolved.num_sinks;
  geometry.selection = resolved.selection;
  geometry.score_reduction = resolved.reduction;
  geometry.ema_decay = options.ema_decay;
  int64_t sum = 0;
  for (const int64_t tokens : options.sub_cache_tokens) {
    if (tokens < 1 || tokens > kMaxCacheTokens) {
      return Invalid(absl::StrCat("--sub-cache-tokens: each must be in [1, ", kMaxCacheTokens, "], got ", tokens));
    }
    geometry.sub_cache_tokens.push_back(static_cast<int>(tokens));
    sum += tokens;
  }
  if (sum > kMaxCacheTokens) return Invalid(absl::StrCat("--sub-cache-tokens: the sum must be at most ", kMaxCacheTokens));
  geometry.stride = static_cast<int>(options.stride > 0 ? options.stride : LargestStride(geometry.sub_cache_tokens, sum));
  const int64_t group = options.policy == "paper" ? 1 : options.selection_group;
  geometry.selection_group =
      static_cast<int>(group > 0 ? group : LargestSelectionGroup(geometry.stride, geometry.num_sub_caches()));
  return geometry;
}

}  // namespace

int CascadeGeometry::cache_tokens() const {
  return std::accumulate(sub_cache_tokens.begin(), sub_cache_tokens.end(), 0);
}
int CascadeGeometry::slots() const { return num_sinks + cache_tokens() + stride; }
int CascadeGeometry::ring_slots(int i) const { return sub_cache_tokens[i] + (i == 0 ? stride : 0); }

std::string CascadeGeometry::ToString() const {
  const char* names[] = {"both", "attention", "distinctness"};
  return absl::StrCat("W=", absl::StrJoin(sub_cache_tokens, ","), " S=", stride, " g=", selection_group, " s=", num_sinks,
                      " ", names[static_cast<int>(selection)]);
}

absl::Status CascadeGeometry::Validate() const {
  const int n = num_sub_caches();
  if (n < 1 || n > kMaxSubCaches) return Invalid(absl::StrCat("the number of sub-caches must be in [1, ", kMaxSubCaches, "]"));
  if (num_sinks < 0) return Invalid("--sinks must not be negative");
  if (stride < 1) return Invalid(absl::StrCat("--stride must be positive, got ", stride));
  const int g = selection_group;
  if (g < 1 || (g & (g - 1)) != 0) return Invalid(absl::StrCat("--selection-group must be a power of two, got ", g));
  if (cache_tokens() % stride != 0) {
    return Invalid(absl::StrCat("the stride (", stride, ") must divide the cache's tokens (", cache_tokens(), ")"));
  }
  if (n > 1 && stride % (int64_t{g} << (n - 1)) != 0) {
    return Invalid(absl::StrCat("the stride (", stride, ") must be a multiple of the selection group times 2^(N-1) (", g,
                                " x ", 1 << (n - 1), " for ", n, " sub-caches)"));
  }
  for (int i = 0; i < n; ++i) {
    const int unit = std::max(1, stride >> i);
    if (sub_cache_tokens[i] < 1 || sub_cache_tokens[i] % unit != 0) {
      return Invalid(absl::StrCat("sub-cache ", i, " (", sub_cache_tokens[i], " tokens) must be a positive multiple of the stride / 2^",
                                  i, " = ", unit));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CascadeGeometry> MakeGeometry(const GeometryOptions& options, int64_t max_positions) {
  absl::StatusOr<Resolved> resolved = Resolve(options);
  if (!resolved.ok()) return resolved.status();

  absl::StatusOr<CascadeGeometry> geometry = CascadeGeometry();
  if (!options.sub_cache_tokens.empty()) {
    geometry = Unequal(options, *resolved);
    if (!geometry.ok()) return geometry.status();
    if (absl::Status status = geometry->Validate(); !status.ok()) {
      return Invalid(absl::StrCat("--sub-cache-tokens: ", status.message()));
    }
    if (geometry->slots() > max_positions) {
      return Invalid(absl::StrCat("--sub-cache-tokens: sinks + cache + stride = ", geometry->slots(),
                                  " is more than the model's context of ", max_positions));
    }
    return geometry;
  }

  int64_t cache_tokens = options.cache_tokens;
  if (cache_tokens < 0 || cache_tokens > kMaxCacheTokens) {
    return Invalid(absl::StrCat("--cache-tokens must be in [1, ", kMaxCacheTokens, "], got ", cache_tokens));
  }
  if (cache_tokens == 0) {
    cache_tokens = kMaxDefaultCacheTokens;
    while (cache_tokens > 1 && !Works(options, *resolved, cache_tokens, max_positions)) cache_tokens /= 2;
    if (!Works(options, *resolved, cache_tokens, max_positions)) {
      return Invalid(absl::StrCat("--cache-tokens: no power of two fits the other options and the model's context of ",
                                  max_positions, "; ",
                                  NearestValid(options, *resolved, kMaxDefaultCacheTokens, max_positions)));
    }
  }
  const int n = resolved->num_sub_caches;
  if (cache_tokens < n || cache_tokens % n != 0) {
    return Invalid(absl::StrCat("--cache-tokens ", cache_tokens, " cannot be split over ", n, " equal sub-caches; ",
                                NearestValid(options, *resolved, cache_tokens, max_positions)));
  }
  geometry = Equal(options, *resolved, cache_tokens);
  if (absl::Status status = geometry->Validate(); !status.ok()) {
    return Invalid(absl::StrCat("--cache-tokens ", cache_tokens, ": ", status.message(), "; ",
                                NearestValid(options, *resolved, cache_tokens, max_positions)));
  }
  if (geometry->slots() > max_positions) {
    return Invalid(absl::StrCat("--cache-tokens ", cache_tokens, ": sinks + cache + stride = ", geometry->slots(),
                                " is more than the model's context of ", max_positions, "; ",
                                NearestValid(options, *resolved, cache_tokens, max_positions)));
  }
  return geometry;
}

}  // namespace cascade
