#include "tests/engine/durable_script.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/token_digest.h"
#include "gtest/gtest.h"
#include "tests/support/collect_turn.h"

namespace cascade {
namespace {

struct Life {
  std::string id;
  std::vector<int32_t> ids;
  std::vector<size_t> turns;  // tokens at each one's begin
  bool moved = false;         // its journal does not go back to its begin
};

class Script {
 public:
  Script(const DurableScriptOptions& options, const std::function<std::unique_ptr<Engine>()>& start, Engine& reference)
      : options_(options), start_(start), reference_(reference), random_(options.seed), engine_(start()) {}

  DurableScriptCounts Run() {
    for (int i = 0; i < options_.sessions; ++i) Create();
    for (int i = 0; i < options_.operations && !::testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(::testing::Message() << "seed " << options_.seed << ", operation " << i);
      Step();
    }
    if (options_.restarts && !::testing::Test::HasFailure()) Restart();
    for (Life& life : lives_) {
      if (!::testing::Test::HasFailure()) Check(life);
    }
    engine_.reset();
    return counts_;
  }

 private:
  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }
  std::vector<int32_t> Ids(int count) {
    std::vector<int32_t> ids(static_cast<size_t>(count));
    for (int32_t& id : ids) id = 2 + Draw(options_.vocabulary - 2);
    return ids;
  }

  void Create() {
    const auto made = engine_->CreateSession("life", std::nullopt);
    ASSERT_TRUE(made.ok()) << made.status();
    lives_.push_back({made->id, {}, {}, false});
  }

  void Step() {
    Life& life = lives_[static_cast<size_t>(Draw(static_cast<int>(lives_.size())))];
    if (options_.look && Draw(5) == 0) Look(life);
    const int kind = Draw(100);
    SCOPED_TRACE(::testing::Message() << "kind " << kind << ", session of " << life.ids.size() << " tokens");
    if (kind < 62) return Turn(life);
    if (kind < 72) return Park(life);
    if (kind < 78) return ForkIt(life);
    if (kind < 86) return Rewind(life);
    if (kind < 91) return Move(life);
    if (kind < 95) return Interrupted(life);
    if (options_.restarts) return Restart();
  }

  TurnRequest Request(const std::vector<int32_t>& prompt) {
    TurnRequest request;
    request.prompt = prompt;
    request.max_tokens = Draw(options_.max_reply + 1);
    request.sampling.temperature = Draw(2) == 0 ? 0.0f : 0.9f;
    request.sampling.seed = random_();
    return request;
  }
  std::vector<int32_t> Expected(const Life& life, TurnRequest request) {
    if (*request.max_tokens == 0) return {};
    std::vector<int32_t> all = life.ids;
    const auto& prompt = std::get<std::vector<int32_t>>(request.prompt);
    all.insert(all.end(), prompt.begin(), prompt.end());
    request.prompt = std::move(all);
    request.session_id.clear();
    auto stream = reference_.Submit(std::move(request));
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.ok() ? CollectTurn(**stream).token_ids : std::vector<int32_t>();
  }

  void Turn(Life& life) {
    const std::vector<int32_t> prompt =
        Ids(life.ids.empty() ? 1 + Draw(options_.max_prompt) : Draw(options_.max_prompt));
    TurnRequest request = Request(prompt);
    const std::vector<int32_t> expected = Expected(life, request);
    request.session_id = life.id;
    request.expected_position = static_cast<int64_t>(life.ids.size());
    if (Draw(8) == 0) request.durability = Durability::kImage;
    auto stream = engine_->Submit(std::move(request));
    ASSERT_TRUE(stream.ok()) << stream.status();
    const TurnDelta turn = CollectTurn(**stream);
    ASSERT_TRUE(turn.status.ok()) << turn.status;
    ASSERT_EQ(turn.token_ids, expected);
    life.turns.push_back(life.ids.size());
    life.ids.insert(life.ids.end(), prompt.begin(), prompt.end());
    life.ids.insert(life.ids.end(), expected.begin(), expected.end());
    if (life.ids.size() == life.turns.back()) life.turns.pop_back();  // nothing came: no turn
    if (turn.acknowledgement.has_value()) {
      EXPECT_EQ(turn.acknowledgement->turn, static_cast<int64_t>(life.turns.size()));
      EXPECT_EQ(turn.acknowledgement->digest, ExtendTokenDigest(0, life.ids));
    }
    ++counts_.turns;
    counts_.tokens += static_cast<int>(prompt.size() + expected.size());
  }

  // Cut before it ends, with what it did undone.
  void Interrupted(Life& life) {
    TurnRequest request = Request(Ids(1 + Draw(options_.max_prompt)));
    request.max_tokens = 1000;
    request.session_id = life.id;
    request.on_cancel = OnCancel::kRollback;
    auto stream = engine_->Submit(std::move(request));
    ASSERT_TRUE(stream.ok()) << stream.status();
    TurnDelta delta = (*stream)->Pop();
    (*stream)->Cancel();
    while (!delta.finished) delta = (*stream)->Pop();
    if (delta.finish_reason != FinishReason::kCancelled) {  // the end came first
      const auto session = engine_->GetSession(life.id);
      ASSERT_TRUE(session.ok());
      const int64_t back = session->turns - static_cast<int64_t>(life.turns.size());
      if (back > 0) {
        RewindRequest rewind;
        rewind.session_id = life.id;
        rewind.take_back = back;
        ASSERT_TRUE(engine_->RewindSession(rewind).ok());
      }
    }
    ++counts_.interrupted;
    CheckPosition(life);
  }

  void CheckPosition(const Life& life) {
    const auto session = engine_->GetSession(life.id);
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_EQ(session->position, static_cast<int64_t>(life.ids.size()));
    EXPECT_EQ(session->digest, ExtendTokenDigest(0, life.ids));
    EXPECT_EQ(session->turns, static_cast<int64_t>(life.turns.size()));
  }

  void Look(Life& life) {
    options_.look(*engine_, life.id, life.ids);
    ++counts_.looks;
    CheckPosition(life);
  }

  void Check(Life& life) {
    CheckPosition(life);
    if (options_.look) Look(life);
    if (!::testing::Test::HasFailure()) Turn(life);
  }

  void Park(Life& life) {
    ParkTarget target = ParkTarget::kAny;
    if (Draw(2) == 0) target = options_.host && Draw(2) == 0 ? ParkTarget::kHost : ParkTarget::kDisk;
    const auto parked = engine_->ParkSession(life.id, target);
    ASSERT_TRUE(parked.ok()) << parked.status();
    ++counts_.parks;
    CheckPosition(life);
  }

  void ForkIt(Life& life) {
    const auto fork = engine_->ForkSession(life.id, "fork", std::nullopt);
    ASSERT_TRUE(fork.ok()) << fork.status();
    EXPECT_EQ(fork->turns, 0);
    ++counts_.forks;
    // One of the two goes on, the other one is gone.
    if (Draw(2) == 0) {
      ASSERT_TRUE(engine_->DeleteSession(life.id).ok());
      life.id = fork->id;
      life.turns.clear();
    } else {
      ASSERT_TRUE(engine_->DeleteSession(fork->id).ok());
    }
    CheckPosition(life);
  }

  void Rewind(Life& life) {
    if (life.turns.empty()) return;
    RewindRequest request;
    request.session_id = life.id;
    request.take_back = 1 + Draw(std::min(6, static_cast<int>(life.turns.size())));
    request.allow_replay = true;
    const auto rewound = engine_->RewindSession(request);
    // Older than what is kept, and its ids are not all here: it says so, and nothing changes.
    if (life.moved && absl::IsFailedPrecondition(rewound.status())) return CheckPosition(life);
    ASSERT_TRUE(rewound.ok()) << rewound.status() << ", " << *request.take_back << " of " << life.turns.size();
    for (int64_t i = 0; i < *request.take_back; ++i) {
      life.ids.resize(life.turns.back());
      life.turns.pop_back();
    }
    ++counts_.rewinds;
    CheckPosition(life);
  }

  void Move(Life& life) {
    const auto bytes = engine_->ExportSession(life.id, Draw(2) == 0 && !life.moved);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    auto import = engine_->ImportSession();
    ASSERT_TRUE(import.ok()) << import.status();
    std::vector<uint8_t> all = bytes->head;
    if (bytes->cache != nullptr) {
      const auto cache = bytes->cache->bytes();
      const auto* data = reinterpret_cast<const uint8_t*>(cache.data());
      all.insert(all.end(), data, data + cache.size());
    }
    for (size_t at = 0; at < all.size();) {
      const size_t count = std::min<size_t>(all.size() - at, 1 + static_cast<size_t>(Draw(70000)));
      ASSERT_TRUE((*import)->Add(std::span<const uint8_t>(all).subspan(at, count)).ok());
      at += count;
    }
    const auto session = (*import)->Finish("", std::nullopt, false);
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE(engine_->DeleteSession(life.id).ok());
    life.id = session->id;
    // What was before came along as one turn.
    const size_t turns = std::max<size_t>(life.turns.size(), life.ids.empty() ? 0 : 1);
    life.turns.assign(turns, 0);
    life.moved = true;
    ++counts_.transfers;
    CheckPosition(life);
    // Turns before it cannot be taken back: it begins here.
    const auto fork = engine_->ForkSession(life.id, "", std::nullopt);
    ASSERT_TRUE(fork.ok()) << fork.status();
    ASSERT_TRUE(engine_->DeleteSession(life.id).ok());
    life.id = fork->id;
    life.turns.clear();
  }

  void Restart() {
    engine_.reset();
    engine_ = start_();
    ++counts_.restarts;
  }

  const DurableScriptOptions options_;
  const std::function<std::unique_ptr<Engine>()> start_;
  Engine& reference_;
  std::mt19937_64 random_;
  std::unique_ptr<Engine> engine_;
  std::vector<Life> lives_;
  DurableScriptCounts counts_;
};

}  // namespace

DurableScriptCounts RunDurableScript(const DurableScriptOptions& options,
                                     const std::function<std::unique_ptr<Engine>()>& start, Engine& reference) {
  return Script(options, start, reference).Run();
}

}  // namespace cascade
