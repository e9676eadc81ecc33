// Penalties that look back over turns see the session's ids, wherever those have been meanwhile: a session's next
// tokens are those of a one-shot turn that reads all of its ids.
#include "engine/session/recent_ids.h"
#include "tests/engine/engine_durability_fixture.h"

namespace cascade {
namespace {

class EngineRecentTest : public EngineDurabilityTest {
 protected:
  static TurnRequest Penalised(TurnRequest request) {
    request.sampling.temperature = 0;
    request.sampling.repetition_penalty = 2;
    request.sampling.repeat_last_n = 1024;
    request.ignore_eos = true;
    return request;
  }
  // A turn; its ids are added to what the session has seen.
  void Say(const std::string& session, std::vector<int32_t>& seen, size_t prompt_ids, int64_t max_tokens) {
    std::vector<int32_t> prompt;
    for (size_t i = 0; i < prompt_ids; ++i) prompt.push_back(static_cast<int32_t>((seen.size() * 31 + i * 7) % 250));
    seen.insert(seen.end(), prompt.begin(), prompt.end());
    const TurnDelta turn = Finish(Penalised(IdsTurn(prompt, max_tokens, session)));
    ASSERT_TRUE(turn.status.ok()) << turn.status;
    seen.insert(seen.end(), turn.token_ids.begin(), turn.token_ids.end());
  }
  // The session goes on like one that was told everything at once. Its own state stays as it is.
  void ExpectRemembered(const std::string& session, const std::vector<int32_t>& seen) {
    const auto fork = engine_->ForkSession(session, "", std::nullopt);
    ASSERT_TRUE(fork.ok()) << fork.status();
    const TurnDelta turn = Finish(Penalised(IdsTurn({}, 20, fork->id)));
    const TurnDelta whole = Finish(Penalised(IdsTurn(seen, 20)));
    EXPECT_EQ(turn.token_ids, whole.token_ids) << seen.size() << " ids";
    EXPECT_TRUE(engine_->DeleteSession(fork->id).ok());
  }
};

TEST_P(EngineRecentTest, OverTurnsParkingRestartsAndForks) {
  Begin();
  const std::string session = NewSession();
  std::vector<int32_t> seen;
  for (int turn = 0; turn < 6; ++turn) {
    Say(session, seen, 40, 30);
    ExpectRemembered(session, seen);
    if (turn % 3 == 1) {
      ASSERT_TRUE(engine_->ParkSession(session, ParkTarget::kDisk).ok());
      ExpectRemembered(session, seen);
    }
    if (turn % 3 == 2) {
      Begin();
      ExpectRemembered(session, seen);
    }
  }
  Say(session, seen, 2000, 3);  // more than are kept
  ExpectRemembered(session, seen);
  Begin();
  ExpectRemembered(session, seen);
}

TEST_P(EngineRecentTest, OverRewindsToNewAndOldTurns) {
  options_.rewind_turns = 2;
  Begin();
  const std::string session = NewSession();
  std::vector<int32_t> seen;
  std::vector<std::vector<int32_t>> after = {seen};
  for (int turn = 0; turn < 8; ++turn) {
    Say(session, seen, 30, 20);
    after.push_back(seen);
  }
  for (const int64_t turn : {7, 2}) {  // the second is read from the journal
    RewindRequest request;
    request.session_id = session;
    request.to_turn = turn;
    request.allow_replay = true;
    const auto rewound = engine_->RewindSession(request);
    ASSERT_TRUE(rewound.ok()) << rewound.status();
    ExpectRemembered(session, after[static_cast<size_t>(turn)]);
  }
  Begin();
  ExpectRemembered(session, after[2]);
  seen = after[2];
  Say(session, seen, 5, 5);
  ExpectRemembered(session, seen);
  Begin();
  ExpectRemembered(session, seen);
}

TEST_P(EngineRecentTest, OverExportAndImportWithTheHistory) {
  Begin();
  const std::string session = NewSession();
  std::vector<int32_t> seen;
  for (int turn = 0; turn < 4; ++turn) Say(session, seen, 40, 30);
  const auto bytes = engine_->ExportSession(session, /*with_history=*/true);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  auto import = engine_->ImportSession();
  ASSERT_TRUE(import.ok()) << import.status();
  ASSERT_TRUE((*import)->Add(bytes->head).ok());
  if (bytes->cache != nullptr) {
    const std::span<std::byte> cache = bytes->cache->bytes();
    ASSERT_TRUE((*import)->Add({reinterpret_cast<const uint8_t*>(cache.data()), cache.size()}).ok());
  }
  const auto imported = (*import)->Finish("", std::nullopt, /*replay=*/false);
  ASSERT_TRUE(imported.ok()) << imported.status();
  ExpectRemembered(imported->id, seen);
}

TEST_P(EngineRecentTest, ACancelledTurnLeavesWhatItFed) {
  Begin();
  const std::string session = NewSession();
  std::vector<int32_t> seen;
  Say(session, seen, 20, 10);
  model_->Hold();
  std::vector<int32_t> prompt(100);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i);
  const auto stream = engine_->Submit(Penalised(IdsTurn(prompt, 10, session)));
  ASSERT_TRUE(stream.ok()) << stream.status();
  model_->WaitUntilHeld();
  (*stream)->Cancel();
  model_->ReleaseAll();
  const TurnDelta turn = CollectTurn(**stream);
  const auto fed = static_cast<size_t>(turn.usage.session_tokens_seen) - seen.size();
  ASSERT_LT(fed, prompt.size());
  ASSERT_GT(fed, 0u);
  seen.insert(seen.end(), prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(fed));
  ExpectRemembered(session, seen);
  Begin();
  ExpectRemembered(session, seen);
}

TEST(RecentIdsTest, TheNewestAreKept) {
  RecentIds recent;
  EXPECT_TRUE(AsSpan(recent).empty());
  std::vector<int32_t> all;
  for (int32_t round = 0; round < 50; ++round) {
    std::vector<int32_t> ids(static_cast<size_t>(round * 7 % 90 + (round == 30 ? 2000 : 0)), round);
    all.insert(all.end(), ids.begin(), ids.end());
    recent = ExtendRecent(recent, ids);
    const size_t count = std::min(all.size(), kRecentIds);
    const auto kept = AsSpan(recent);
    ASSERT_TRUE(std::equal(kept.begin(), kept.end(), all.end() - static_cast<ptrdiff_t>(count), all.end()));
  }
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineRecentTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
