#include "engine/cache/cascade_plan.h"

#include <algorithm>
#include <numeric>

#include "kernels/base/check.h"

namespace cascade {
namespace {

// Consecutive entries of one ring, by append index.
struct Run {
  int ring = 0;
  int64_t index = 0;
  int count = 0;
};

}  // namespace

CascadePlan::CascadePlan(const CascadeGeometry& geometry, int64_t tokens_seen)
    : geometry_(&geometry),
      resident_(static_cast<size_t>(geometry.num_sub_caches()), 0),
      appended_(static_cast<size_t>(geometry.num_sub_caches()), 0) {
  const int64_t ticks = std::max<int64_t>(0, tokens_seen - geometry.num_sinks);
  const int64_t closes = ticks / geometry.stride;
  const int64_t filling = std::min<int64_t>(closes, geometry.cache_tokens() / geometry.stride);
  std::vector<kernels::CloseMove> moves;
  for (int64_t j = 0; j < filling; ++j) {
    open_ = geometry.stride;
    CloseStride(moves);
  }
  // From here on a close moves constant numbers.
  for (int i = 0; i < geometry.num_sub_caches(); ++i) appended_[i] += (closes - filling) * (geometry.stride >> i);
  closed_ = closes;
  open_ = static_cast<int>(ticks % geometry.stride);
  tokens_seen_ = tokens_seen;
}

int CascadePlan::sinks() const { return static_cast<int>(std::min<int64_t>(tokens_seen_, geometry_->num_sinks)); }

int64_t CascadePlan::tokens_resident() const {
  return sinks() + std::accumulate(resident_.begin(), resident_.end(), int64_t{0}) + open_;
}

int CascadePlan::TokensUntilCut() const {
  if (tokens_seen_ < geometry_->num_sinks) return geometry_->num_sinks - static_cast<int>(tokens_seen_);
  return geometry_->stride - open_;
}

kernels::Slice CascadePlan::NextSlice(int count, std::vector<kernels::Segment>& segments) const {
  CASCADE_CHECK(count >= 1 && count <= TokensUntilCut());
  const int rings = geometry_->num_sub_caches();
  segments.assign(static_cast<size_t>(rings) + 1, kernels::Segment{});
  kernels::Slice slice;
  slice.num_rows = count;
  slice.first_token = tokens_seen_;
  if (tokens_seen_ < geometry_->num_sinks) {
    slice.sinks = true;
    slice.write_slot = static_cast<uint32_t>(tokens_seen_);
    segments[0] = {.first_slot = 0,
                   .count = static_cast<uint32_t>(tokens_seen_) + 1,
                   .grows = true,
                   .query_position = tokens_seen_};
    slice.segments = segments;
    return slice;
  }
  slice.open_place = open_;
  slice.write_slot = static_cast<uint32_t>((appended_[0] + open_) % geometry_->ring_slots(0));
  int64_t newer = 0;  // residents of the sub-caches 0 .. i-1
  for (int i = 0; i < rings; ++i) {
    kernels::Segment& segment = segments[static_cast<size_t>(i) + 1];
    segment.first_slot = static_cast<uint32_t>((appended_[i] - resident_[i]) % geometry_->ring_slots(i));
    segment.count = static_cast<uint32_t>(resident_[i]);
    segment.query_position = appended_[i] + newer + open_;
    newer += resident_[i];
  }
  segments[1].count += static_cast<uint32_t>(open_) + 1;
  segments[1].grows = true;
  segments[0] = {.first_slot = 0,
                 .count = static_cast<uint32_t>(geometry_->num_sinks),
                 .grows = false,
                 .query_position = geometry_->num_sinks + newer + open_};
  slice.segments = segments;
  return slice;
}

void CascadePlan::Advance(int count) {
  CASCADE_CHECK(count >= 1 && count <= TokensUntilCut());
  if (tokens_seen_ >= geometry_->num_sinks) open_ += count;
  tokens_seen_ += count;
}

kernels::Close CascadePlan::CloseStride(std::vector<kernels::CloseMove>& moves) {
  CASCADE_CHECK(StrideIsFull());
  const int rings = geometry_->num_sub_caches();
  kernels::Close close;
  close.stride_index = appended_[0];

  const bool filling = std::accumulate(resident_.begin(), resident_.end(), 0) < geometry_->cache_tokens();
  std::vector<std::vector<kernels::CloseMove>> into(static_cast<size_t>(rings));  // by destination
  std::vector<Run> arrivals = {{0, appended_[0], geometry_->stride}};
  for (int i = 0; i < rings; ++i) {
    std::vector<Run> leaving;
    const int64_t oldest = appended_[i] - resident_[i];
    if (i > 0 && !filling) {
      CASCADE_CHECK(arrivals.size() == 1);
      const Run& run = arrivals.front();
      into[i].push_back({run.ring, i, run.index, appended_[i], run.count, /*select=*/true});
      const int kept = run.count / 2;
      leaving.push_back({i, oldest, kept});
      appended_[i] += kept;
    } else {
      int arriving = 0;
      for (const Run& run : arrivals) arriving += run.count;
      const int leave = std::max(0, resident_[i] + arriving - geometry_->sub_cache_tokens[i]);
      const int own = std::min(leave, resident_[i]);
      if (own > 0) leaving.push_back({i, oldest, own});
      int pass = leave - own;  // the oldest arrivals only pass through: they advance a_i and are not stored here
      int64_t index = appended_[i];
      for (Run run : arrivals) {
        const int passing = std::min(pass, run.count);
        if (passing > 0) leaving.push_back({run.ring, run.index, passing});
        pass -= passing;
        index += passing;
        run.index += passing;
        run.count -= passing;
        if (run.count > 0 && i > 0) into[i].push_back({run.ring, i, run.index, index, run.count, /*select=*/false});
        index += run.count;
      }
      appended_[i] += arriving;
      resident_[i] += arriving - leave;
    }
    arrivals = std::move(leaving);
  }
  moves.clear();
  for (int i = rings - 1; i >= 1; --i) moves.insert(moves.end(), into[i].begin(), into[i].end());
  close.moves = moves;
  open_ = 0;
  ++closed_;
  return close;
}

void CascadePlan::Follow(int count) {
  Advance(count);
  std::vector<kernels::CloseMove> moves;
  if (StrideIsFull()) CloseStride(moves);
}

std::vector<HeldToken> HeldTokens(const CascadeGeometry& geometry, const CascadePlan& plan,
                                  const kernels::HeadContents& contents) {
  std::vector<HeldToken> held;
  held.reserve(static_cast<size_t>(plan.tokens_resident()));
  for (int j = 0; j < plan.sinks(); ++j) held.push_back({.token = j, .sub_cache = -1});
  const auto append = [&](int ring, int64_t index, int sub_cache) {
    const size_t slot = static_cast<size_t>(index % geometry.ring_slots(ring));
    const size_t segment = static_cast<size_t>(ring) + 1;
    held.push_back({.token = contents.tokens[segment][slot],
                    .sub_cache = sub_cache,
                    .score = contents.scores[segment][slot],
                    .distinctness = contents.distinctness[segment][slot]});
  };
  const int rings = geometry.num_sub_caches();
  for (int i = rings - 1; i >= 0; --i) {
    for (int64_t c = plan.appended(i) - plan.resident(i); c < plan.appended(i); ++c) append(i, c, i);
  }
  for (int r = 0; r < plan.open_tokens(); ++r) append(0, plan.appended(0) + r, rings);
  return held;
}

}  // namespace cascade
