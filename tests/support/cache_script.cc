#include "tests/support/cache_script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>
#include <utility>

#include "kernels/base/check.h"
#include "tests/support/compare.h"
#include "tests/support/reference_attention.h"
#include "tests/support/rounding.h"

namespace cascade::kernels {

CacheCase MakeCase(std::string name, int head_dim, int group, std::vector<int> windows, int stride, int sinks,
                   DType type) {
  CacheShape shape;
  shape.num_layers = 2;
  shape.num_kv_heads = 2;
  shape.group = group;
  shape.head_dim = head_dim;
  shape.kv_type = type;
  for (int i = 0; i < head_dim / 2; ++i) shape.rope.frequency.push_back(std::pow(10000.0, -2.0 * i / head_dim));
  shape.num_sinks = sinks;
  shape.ring_slots = std::move(windows);
  shape.ring_slots[0] += stride;
  shape.stride = stride;
  shape.ema_decay = 0.99;
  return {.name = std::move(name), .shape = std::move(shape)};
}

CacheScript::CacheScript(const CacheCase& test_case)
    : shape_(test_case.shape), resident_(shape_.num_rings(), 0), appended_(shape_.num_rings(), test_case.first_index) {}

int CacheScript::TokensUntilCut() const {
  return seen_ < shape_.num_sinks ? shape_.num_sinks - seen_ : shape_.stride - open_;
}

Slice CacheScript::NextSlice(int count, std::vector<Segment>& segments) const {
  segments.assign(shape_.num_rings() + 1, {});
  Slice slice;
  slice.num_rows = count;
  slice.first_token = seen_;
  slice.sinks = seen_ < shape_.num_sinks;
  if (slice.sinks) {
    slice.write_slot = seen_;
    segments[0] = {.first_slot = 0, .count = static_cast<uint32_t>(seen_ + 1), .grows = true, .query_position = seen_};
  } else {
    slice.open_place = open_;
    slice.write_slot = static_cast<uint32_t>((appended_[0] + open_) % shape_.ring_slots[0]);
    int64_t newer = 0;
    for (int i = 0; i < shape_.num_rings(); ++i) {
      segments[i + 1] = {.first_slot = static_cast<uint32_t>((appended_[i] - resident_[i]) % shape_.ring_slots[i]),
                         .count = static_cast<uint32_t>(resident_[i] + (i == 0 ? open_ + 1 : 0)),
                         .grows = i == 0,
                         .query_position = appended_[i] + newer + open_};
      newer += resident_[i];
    }
    segments[0] = {.count = static_cast<uint32_t>(shape_.num_sinks),
                   .query_position = shape_.num_sinks + newer + open_};
  }
  slice.segments = segments;
  return slice;
}

void CacheScript::Advance(int count) {
  if (seen_ >= shape_.num_sinks) open_ += count;
  seen_ += count;
}

Close CacheScript::CloseStride(std::vector<CloseMove>& moves) {
  moves.clear();
  Close close;
  close.stride_index = appended_[0];
  int64_t arrive = shape_.stride;
  for (int i = 0; i < shape_.num_rings(); ++i) {
    const int64_t begin = appended_[i] - resident_[i];
    const int64_t leave = std::max<int64_t>(0, resident_[i] + arrive - Window(i));
    resident_[i] += arrive - leave;
    appended_[i] += arrive;
    if (i + 1 == shape_.num_rings() || leave == 0) break;
    const bool select = resident_[i + 1] == Window(i + 1) && leave % (2 * shape_.selection_group) == 0;
    moves.push_back({.from_ring = i,
                     .to_ring = i + 1,
                     .from_index = begin,
                     .to_index = appended_[i + 1],
                     .count = static_cast<int>(leave),
                     .select = select});
    arrive = select ? leave / 2 : leave;
  }
  std::reverse(moves.begin(), moves.end());  // what leaves a ring goes before its slots are overwritten
  open_ = 0;
  close.moves = moves;
  return close;
}

std::vector<int> CacheScript::LiveSlots(int segment) const {
  std::vector<int> slots;
  if (segment == 0) {
    for (int i = 0; i < std::min(seen_, shape_.num_sinks); ++i) slots.push_back(i);
    return slots;
  }
  const int ring = segment - 1;
  const int64_t end = appended_[ring] + (ring == 0 ? open_ : 0);
  for (int64_t index = appended_[ring] - resident_[ring]; index < end; ++index) {
    slots.push_back(static_cast<int>(index % shape_.ring_slots[ring]));
  }
  return slots;
}

std::vector<float> TokenInput(const CacheCase& test_case, int session, int token, int layer, int kind) {
  const CacheShape& shape = test_case.shape;
  std::seed_seq seed{session, token, layer, kind};
  std::minstd_rand random(seed);
  // Keys share a direction, as real ones do, and queries are sharp enough for uneven weights.
  std::uniform_real_distribution<float> uniform(-1.5f, 1.5f);
  std::vector<float> values(static_cast<size_t>(shape.num_kv_heads) * (kind == 0 ? shape.group : 1) * shape.head_dim);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = uniform(random) + (kind == 1 && i % shape.head_dim < 4 ? 1.0f : 0.0f);
    if (kind == 0 && session == test_case.nan_session) values[i] = std::nanf("");
    if (!test_case.heavy) continue;
    if (kind == 1 && token % 53 == 7) values[i] *= 3;
    const int element = static_cast<int>(i) % shape.head_dim;
    const int pair = shape.rope.pairs == RopePairs::kInterleaved ? element / 2 : element % (shape.head_dim / 2);
    if (pair < shape.head_dim * 3 / 8) continue;  // turned much
    if (kind == 0) values[i] += 1.0f;
    if (kind == 1 && token < shape.num_sinks) values[i] += 1.5f;
  }
  return values;
}

namespace {

// What one layer of a step was fed with, rounded to the activations' type, and what came out: [rows, width or
// kv_width].
struct LayerRows {
  DType type;
  int64_t width, kv_width;
  std::vector<float> q, k, v, out;
};

// q, k, v and out on the device, for as many rows as a step may have.
class Activations {
 public:
  Activations(Backend& backend, const CacheCase& test_case, int64_t max_rows)
      : backend_(backend),
        test_case_(test_case),
        kv_width_(int64_t{test_case.shape.num_kv_heads} * test_case.shape.head_dim),
        width_(kv_width_ * test_case.shape.group) {
    const auto allocate = [&](TensorView& view, int64_t cols) {
      absl::StatusOr<TensorView> made = backend.Allocate(max_rows, cols, Precision::kCompute);
      CASCADE_CHECK(made.ok());
      view = *made;
    };
    allocate(q_, width_), allocate(out_, width_), allocate(k_, kv_width_), allocate(v_, kv_width_);
  }

  // `result` is complete when the step has been waited for.
  void Run(const std::vector<Slice>& slices, int64_t rows, int layer, bool fused, LayerRows& result) {
    result = {.type = q_.type, .width = width_, .kv_width = kv_width_, .q = {}, .k = {}, .v = {}, .out = {}};
    for (const Slice& slice : slices) {
      for (int row = 0; row < slice.num_rows; ++row) {
        const auto append = [&](std::vector<float>& to, int kind) {
          const std::vector<float> values = reference::Rounded(
              q_.type, TokenInput(test_case_, slice.slot, static_cast<int>(slice.first_token) + row, layer, kind));
          to.insert(to.end(), values.begin(), values.end());
        };
        append(result.q, 0), append(result.k, 1), append(result.v, 2);
      }
    }
    result.out.assign(rows * width_, std::nanf(""));
    backend_.CopyFromHost(result.q, q_.Rows(rows));
    backend_.CopyFromHost(result.k, k_.Rows(rows));
    backend_.CopyFromHost(result.v, v_.Rows(rows));
    backend_.CopyFromHost(result.out, out_.Rows(rows));
    if (fused) {
      backend_.AppendAndAttend(layer, q_.Rows(rows), k_.Rows(rows), v_.Rows(rows), out_.Rows(rows));
    } else {
      backend_.AppendKv(layer, k_.Rows(rows), v_.Rows(rows));
      backend_.Attend(layer, q_.Rows(rows), out_.Rows(rows));
    }
    backend_.CopyToHost(out_.Rows(rows), result.out);
  }

 private:
  Backend& backend_;
  const CacheCase& test_case_;
  const int64_t kv_width_, width_;
  TensorView q_, k_, v_, out_;
};

// Sees what a run does.
class Observer {
 public:
  virtual ~Observer() = default;
  // False: the run ends.
  virtual bool AfterLayer(const std::vector<Slice>& slices, int layer, const LayerRows& step) = 0;
  virtual bool AfterClose(const Close& close, const CacheScript& script) { return true; }
};

// The slices of a step: of what most sessions have left, the shorter ones first, as the engine orders them.
std::vector<Slice> ChooseSlices(const CacheCase& test_case, const Slicing& slicing,
                                const std::vector<CacheScript>& scripts, std::minstd_rand& random,
                                std::vector<std::vector<Segment>>& segments) {
  std::vector<std::pair<int, int>> chosen;  // rows, session
  for (int s = 0; s < slicing.sessions; ++s) {
    const int left = test_case.tokens - scripts[s].seen();
    if (left == 0 || (slicing.seed != 0 && random() % 4 == 0)) continue;
    int count = std::min({left, scripts[s].TokensUntilCut(), slicing.most_rows});
    if (slicing.seed != 0) count = 1 + static_cast<int>(random() % count);
    chosen.emplace_back(count, s);
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Slice> slices;
  int rows = 0;
  for (const auto& [count, session] : chosen) {
    slices.push_back(scripts[session].NextSlice(count, segments[session]));
    slices.back().slot = session;
    slices.back().first_row = rows;
    rows += count;
  }
  return slices;
}

void Drive(Backend& backend, const CacheCase& test_case, const Slicing& slicing, Observer& observer) {
  const CacheShape& shape = test_case.shape;
  const int longest = std::min(std::max(shape.stride, shape.num_sinks), slicing.most_rows);
  const int max_rows = slicing.sessions * longest;
  Activations activations(backend, test_case, max_rows);
  const absl::Status created = backend.CreateCaches(shape, slicing.sessions, max_rows);
  ASSERT_TRUE(created.ok()) << created.ToString();
  std::minstd_rand random(slicing.seed);
  std::vector<CacheScript> scripts(slicing.sessions, CacheScript(test_case));
  const auto more = [&] {
    return std::any_of(scripts.begin(), scripts.end(),
                       [&](const CacheScript& script) { return script.seen() < test_case.tokens; });
  };
  while (more()) {
    std::vector<std::vector<Segment>> segments(slicing.sessions);
    const std::vector<Slice> slices = ChooseSlices(test_case, slicing, scripts, random, segments);
    if (slices.empty()) continue;
    const int64_t rows = slices.back().first_row + slices.back().num_rows;
    const std::vector<int32_t> ids(rows, 0);
    backend.BeginStep({.slices = slices, .ids = ids, .samples = {}});
    std::vector<LayerRows> layers(shape.num_layers);
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      activations.Run(slices, rows, layer, slicing.fused, layers[layer]);
    }
    std::vector<Close> closes;
    std::vector<std::vector<CloseMove>> moves(slicing.sessions);
    for (const Slice& slice : slices) {
      scripts[slice.slot].Advance(slice.num_rows);
      if (!scripts[slice.slot].StrideIsFull()) continue;
      closes.push_back(scripts[slice.slot].CloseStride(moves[slice.slot]));
      closes.back().slot = slice.slot;
    }
    backend.CloseStrides(closes);
    backend.EndStep();
    std::vector<int32_t> sampled;
    const absl::Status status = backend.WaitStep(sampled);
    ASSERT_TRUE(status.ok()) << status.ToString();
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      if (!observer.AfterLayer(slices, layer, layers[layer])) return;
    }
    for (const Close& close : closes) {
      if (!observer.AfterClose(close, scripts[close.slot])) return;
    }
  }
}

std::vector<HeadContents> ReadHeads(Backend& backend, const CacheShape& shape, int slot) {
  std::vector<HeadContents> heads;
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    for (int h = 0; h < shape.num_kv_heads; ++h) heads.push_back(backend.ReadHead(slot, layer, h).value());
  }
  return heads;
}

class Recorder : public Observer {
 public:
  Recorder(const CacheCase& test_case, CacheRun& run) : test_case_(test_case), run_(run) {}

  bool AfterLayer(const std::vector<Slice>& slices, int layer, const LayerRows& step) override {
    const int64_t width = step.width, layers = test_case_.shape.num_layers;
    for (const Slice& slice : slices) {
      std::vector<float>& outputs = run_.outputs[slice.slot];
      outputs.resize(test_case_.tokens * layers * width);
      for (int row = 0; row < slice.num_rows; ++row) {
        std::copy_n(step.out.begin() + (slice.first_row + row) * width, width,
                    outputs.begin() + ((slice.first_token + row) * layers + layer) * width);
      }
    }
    return true;
  }

 private:
  const CacheCase& test_case_;
  CacheRun& run_;
};

class Comparer : public Observer {
 public:
  Comparer(Backend& backend, const CacheCase& test_case, int sessions) : backend_(backend), shape_(test_case.shape) {
    references_.reserve(sessions);
    sessions_ = sessions;
  }

  bool AfterLayer(const std::vector<Slice>& slices, int layer, const LayerRows& step) override {
    if (references_.empty()) {
      rounding_ = CacheRounding::Of(step.type, shape_.kv_type);
      for (int s = 0; s < sessions_; ++s) references_.emplace_back(shape_, rounding_);
    }
    for (const Slice& slice : slices) {
      ReferenceCache& reference = references_[slice.slot];
      const int64_t begin = slice.first_row * step.width;
      reference.Append(slice, layer, step.k.data() + slice.first_row * step.kv_width,
                       step.v.data() + slice.first_row * step.kv_width);
      std::vector<double> variance;
      const std::vector<double> expected = reference.Attend(slice, layer, step.q.data() + begin, variance);
      for (size_t i = 0; i < expected.size(); ++i) {
        const double actual = step.out[begin + static_cast<int64_t>(i)];
        const double error = std::abs(expected[i] - actual), bound = rounding_.Bound(1, variance[i]);
        if (error <= bound) {  // not if it is a NaN
          worst_output_ = std::max(worst_output_, error / bound);
          continue;
        }
        ADD_FAILURE() << "session " << slice.slot << ", token " << slice.first_token + i / step.width << " (row "
                      << slice.first_row << " of a slice of " << slice.num_rows << "), layer " << layer << ", column "
                      << i % step.width << ": " << actual << ", not " << expected[i] << ", bound " << bound;
        return false;
      }
    }
    return true;
  }

  bool AfterClose(const Close& close, const CacheScript& script) override {
    ++closes_;
    const std::vector<HeadContents> heads = ReadHeads(backend_, shape_, close.slot);
    ReferenceCache& reference = references_[close.slot];
    reference.CloseStride(close, [&](int layer, int kv_head, int ring, uint32_t token) {
      const std::vector<uint32_t>& tokens = heads[layer * shape_.num_kv_heads + kv_head].tokens[ring + 1];
      for (const int slot : script.LiveSlots(ring + 1)) {
        if (tokens[slot] == token) return true;
      }
      return false;
    });
    for (size_t head = 0; head < heads.size(); ++head) {
      for (int s = 0; s <= shape_.num_rings(); ++s) {
        for (const int slot : script.LiveSlots(s)) {
          const std::string difference = Compare(heads[head],
                                                 reference.At(static_cast<int>(head) / shape_.num_kv_heads,
                                                              static_cast<int>(head) % shape_.num_kv_heads, s, slot),
                                                 reference, s, slot);
          if (difference.empty()) continue;
          ADD_FAILURE() << "session " << close.slot << " after " << script.seen() << " tokens, layer "
                        << head / shape_.num_kv_heads << ", KV head " << head % shape_.num_kv_heads << ", segment " << s
                        << ", slot " << slot << ": " << difference;
          return false;
        }
      }
    }
    return true;
  }

  void ExpectChoicesAgree() const {
    int selections = 0, disagreements = 0, clear = 0, wrong = 0;
    for (const ReferenceCache& reference : references_) {
      selections += reference.selections();
      disagreements += reference.disagreements();
      clear += reference.clear_groups();
      wrong += reference.wrong_clear_groups();
    }
    EXPECT_GT(closes_, 0);
    EXPECT_EQ(wrong, 0) << "of " << clear << " groups without near-ties";
    // The rest are near-ties.
    EXPECT_LE(disagreements, selections * 0.02);
    const auto record = [](const char* name, double value) {
      ::testing::Test::RecordProperty(name, static_cast<int>(value));
    };
    record("worst_output_percent_of_bound", 100 * worst_output_);
    record("worst_score_percent_of_bound", 100 * worst_score_);
    record("worst_distinctness_percent_of_bound", 100 * worst_distinctness_);
    record("selections", selections);
    record("disagreements", disagreements);
    record("clear_groups", clear);
  }

 private:
  std::string Compare(const HeadContents& head, const ReferenceCache::Entry& entry, const ReferenceCache& reference,
                      int segment, int slot) {
    const auto say = [](const char* what, double actual, double expected, double bound) {
      std::ostringstream text;
      text << what << " " << actual << ", not " << expected << ", bound " << bound;
      return text.str();
    };
    const uint32_t token = head.tokens[segment][slot];
    if (token != entry.token) return say("token", token, entry.token, 0);
    const double score = head.scores[segment][slot], distinctness = head.distinctness[segment][slot];
    if (segment == 0) return score == 0 ? "" : say("score of a sink", score, 0, 0);
    const double score_bound = reference.ScoreBound(entry), score_error = std::abs(score - entry.score);
    if (!(score_error <= score_bound)) return say("score", score, entry.score, score_bound);
    worst_score_ = std::max(worst_score_, score_error / score_bound);
    const double error = std::abs(distinctness - entry.distinctness), bound = entry.distinctness_bound;
    if (!(error <= bound)) return say("distinctness", distinctness, entry.distinctness, bound);
    if (bound > 0) worst_distinctness_ = std::max(worst_distinctness_, error / bound);
    return "";
  }

  Backend& backend_;
  const CacheShape& shape_;
  int sessions_;
  CacheRounding rounding_;
  std::vector<ReferenceCache> references_;
  int closes_ = 0;
  double worst_output_ = 0, worst_score_ = 0, worst_distinctness_ = 0;
};

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(BitDifferences(a, b, 1), "");
}

}  // namespace

CacheRun RunCache(Backend& backend, const CacheCase& test_case, const Slicing& slicing) {
  CacheRun run;
  run.outputs.resize(slicing.sessions);
  Recorder recorder(test_case, run);
  Drive(backend, test_case, slicing, recorder);
  if (::testing::Test::HasFatalFailure()) return run;
  for (int s = 0; s < slicing.sessions; ++s) run.heads.push_back(ReadHeads(backend, test_case.shape, s));
  return run;
}

void ExpectAgreesWithReference(Backend& backend, const CacheCase& test_case, const Slicing& slicing) {
  Comparer comparer(backend, test_case, slicing.sessions);
  Drive(backend, test_case, slicing, comparer);
  if (!::testing::Test::HasFailure()) comparer.ExpectChoicesAgree();
}

void ExpectSameRun(const CacheRun& a, const CacheRun& b) {
  for (size_t s = 0; s < std::min(a.heads.size(), b.heads.size()); ++s) {
    ExpectSameBits(a.outputs[s], b.outputs[s]);
    for (size_t head = 0; head < a.heads[s].size(); ++head) {
      EXPECT_EQ(a.heads[s][head].tokens, b.heads[s][head].tokens);
      for (size_t segment = 0; segment < a.heads[s][head].scores.size(); ++segment) {
        ExpectSameBits(a.heads[s][head].distinctness[segment], b.heads[s][head].distinctness[segment]);
        ExpectSameBits(a.heads[s][head].scores[segment], b.heads[s][head].scores[segment]);
      }
    }
  }
}

int TokensToWrap(const CacheShape& shape, int closes) {
  int tokens = shape.num_sinks;
  for (const int slots : shape.ring_slots) tokens += slots;
  return tokens + closes * shape.stride;
}

}  // namespace cascade::kernels
