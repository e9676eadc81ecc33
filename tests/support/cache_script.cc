#include "tests/support/cache_script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/support/reference_attention.h"

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
  }
  return values;
}

namespace {

struct Activations {
  std::vector<float> q, k, v, out;
  int64_t rows, width, kv_width;

  Activations(const CacheShape& shape, int64_t count)
      : rows(count),
        width(int64_t{shape.num_kv_heads} * shape.group * shape.head_dim),
        kv_width(int64_t{shape.num_kv_heads} * shape.head_dim) {
    q.resize(rows * width), out.resize(rows * width), k.resize(rows * kv_width), v.resize(rows * kv_width);
  }
  void Fill(const CacheCase& test_case, int row, int session, int token, int layer) {
    const auto copy = [&](std::vector<float>& to, int kind, int64_t columns) {
      const std::vector<float> values = TokenInput(test_case, session, token, layer, kind);
      std::copy(values.begin(), values.end(), to.begin() + row * columns);
    };
    copy(q, 0, width), copy(k, 1, kv_width), copy(v, 2, kv_width);
  }
  void Run(CacheOps& ops, int layer) {
    const auto view = [&](std::vector<float>& x, int64_t columns) {
      return TensorView{.data = x.data(), .type = DType::kF32, .rows = rows, .cols = columns};
    };
    std::fill(out.begin(), out.end(), std::nanf(""));
    ops.AppendKv(layer, view(k, kv_width), view(v, kv_width));
    ops.Attend(layer, view(q, width), view(out, width));
  }
};

}  // namespace

CacheRun RunCache(const CacheCase& test_case, const Slicing& slicing) {
  const CacheShape& shape = test_case.shape;
  ThreadPool pool(slicing.threads);
  auto created = CacheOps::Create(shape, slicing.sessions, slicing.sessions * (shape.stride + shape.num_sinks), pool);
  EXPECT_TRUE(created.ok()) << created.status().ToString();
  CacheOps& ops = **created;
  std::minstd_rand random(slicing.seed);
  std::vector<CacheScript> scripts(slicing.sessions, CacheScript(test_case));
  CacheRun run;
  const int64_t width = int64_t{shape.num_kv_heads} * shape.group * shape.head_dim;
  run.outputs.assign(slicing.sessions, std::vector<float>(test_case.tokens * shape.num_layers * width));
  for (bool more = true; more;) {
    std::vector<Slice> slices;
    std::vector<std::vector<Segment>> segments(slicing.sessions);
    int rows = 0;
    more = false;
    for (int s = 0; s < slicing.sessions; ++s) {
      const int left = test_case.tokens - scripts[s].seen();
      if (left == 0) continue;
      more = true;
      if (slicing.seed != 0 && random() % 4 == 0) continue;
      int count = std::min({left, scripts[s].TokensUntilCut(), slicing.most_rows});
      if (slicing.seed != 0) count = 1 + static_cast<int>(random() % count);
      slices.push_back(scripts[s].NextSlice(count, segments[s]));
      slices.back().slot = s;
      slices.back().first_row = rows;
      rows += count;
    }
    if (slices.empty()) continue;
    ops.BeginStep(slices);
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      Activations step(shape, rows);
      for (const Slice& slice : slices) {
        for (int row = 0; row < slice.num_rows; ++row) {
          step.Fill(test_case, slice.first_row + row, slice.slot, static_cast<int>(slice.first_token) + row, layer);
        }
      }
      step.Run(ops, layer);
      for (const Slice& slice : slices) {
        for (int row = 0; row < slice.num_rows; ++row) {
          std::copy_n(step.out.begin() + (slice.first_row + row) * width, width,
                      run.outputs[slice.slot].begin() + ((slice.first_token + row) * shape.num_layers + layer) * width);
        }
      }
    }
    std::vector<Close> closes;
    std::vector<std::vector<CloseMove>> moves(slicing.sessions);
    for (const Slice& slice : slices) {
      scripts[slice.slot].Advance(slice.num_rows);
      if (!scripts[slice.slot].StrideIsFull()) continue;
      closes.push_back(scripts[slice.slot].CloseStride(moves[slice.slot]));
      closes.back().slot = slice.slot;
    }
    ops.CloseStrides(closes);
  }
  for (int s = 0; s < slicing.sessions; ++s) {
    run.heads.emplace_back();
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      for (int h = 0; h < shape.num_kv_heads; ++h) run.heads[s].push_back(ops.ReadHead(s, layer, h).value());
    }
  }
  return run;
}

void ExpectAgreesWithReference(const CacheCase& test_case, int threads) {
  const CacheShape& shape = test_case.shape;
  // Float32: rounding of sums. Half: also a key that rounds the other way, since the product rotates in float32.
  const double tolerance = shape.kv_type == DType::kF32 ? 5e-5 : 2e-3;
  ThreadPool pool(threads);
  auto created = CacheOps::Create(shape, 1, shape.stride + shape.num_sinks, pool);
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  CacheOps& ops = **created;
  ReferenceCache reference(shape);
  CacheScript script(test_case);
  std::vector<Segment> segments;
  std::vector<CloseMove> moves;
  double worst_output = 0, worst_score = 0, worst_distinctness = 0;
  int closes = 0;
  while (script.seen() < test_case.tokens) {
    const Slice slice = script.NextSlice(std::min(script.TokensUntilCut(), test_case.tokens - script.seen()), segments);
    ops.BeginStep({&slice, 1});
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      Activations step(shape, slice.num_rows);
      for (int row = 0; row < slice.num_rows; ++row) step.Fill(test_case, row, 0, script.seen() + row, layer);
      step.Run(ops, layer);
      reference.Append(slice, layer, step.k.data(), step.v.data());
      const std::vector<double> expected = reference.Attend(slice, layer, step.q.data());
      for (size_t i = 0; i < expected.size(); ++i) {
        const double error = std::abs(expected[i] - step.out[i]);
        ASSERT_LE(error, tolerance) << "token " << script.seen() + i / step.width << ", layer " << layer << ", column "
                                    << i % step.width << ": " << step.out[i] << ", not " << expected[i];
        worst_output = std::max(worst_output, error);
      }
    }
    script.Advance(slice.num_rows);
    if (!script.StrideIsFull()) continue;
    const Close close = script.CloseStride(moves);
    ops.CloseStrides({&close, 1});
    ++closes;
    reference.CloseStride(close, [&](int layer, int kv_head, int ring, uint32_t token) {
      const std::vector<uint32_t> tokens = ops.ReadHead(0, layer, kv_head).value().tokens[ring + 1];
      for (const int slot : script.LiveSlots(ring + 1)) {
        if (tokens[slot] == token) return true;
      }
      return false;
    });
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      for (int h = 0; h < shape.num_kv_heads; ++h) {
        const HeadContents head = ops.ReadHead(0, layer, h).value();
        for (int s = 0; s <= shape.num_rings(); ++s) {
          for (const int slot : script.LiveSlots(s)) {
            const ReferenceCache::Entry& entry = reference.At(layer, h, s, slot);
            ASSERT_EQ(head.tokens[s][slot], entry.token) << "segment " << s << ", slot " << slot;
            if (s == 0) {
              ASSERT_EQ(head.scores[s][slot], 0.0f);
              continue;
            }
            const double score_error = std::abs(head.scores[s][slot] - entry.score);
            ASSERT_LE(score_error, tolerance * (1 + entry.score)) << "segment " << s << ", slot " << slot;
            const double distinctness_error = std::abs(head.distinctness[s][slot] - entry.distinctness);
            ASSERT_LE(distinctness_error, tolerance) << "segment " << s << ", slot " << slot;
            worst_score = std::max(worst_score, score_error);
            worst_distinctness = std::max(worst_distinctness, distinctness_error);
          }
        }
      }
    }
  }
  EXPECT_GT(closes, 0);
  EXPECT_LE(reference.disagreements(), reference.selections() / 100 * 2);
  ::testing::Test::RecordProperty("worst_output_e9", static_cast<int>(worst_output * 1e9));
  ::testing::Test::RecordProperty("worst_score_e9", static_cast<int>(worst_score * 1e9));
  ::testing::Test::RecordProperty("selections", reference.selections());
}

}  // namespace cascade::kernels
