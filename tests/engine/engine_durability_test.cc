// Sessions with a journal, over the fake model: what outlives what.
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>

#include "engine/base/token_digest.h"
#include "tests/engine/durable_script.h"
#include "tests/engine/engine_durability_fixture.h"

namespace cascade {
namespace {

using ::testing::HasSubstr;

TEST_P(EngineDurabilityTest, RandomLives) {
  EngineOptions plain = options_;
  plain.vault = nullptr;
  plain.durability = Durability::kNone;
  const auto reference_model = MakeModel(1);
  auto reference = *Engine::Create(plain, *reference_model, tokenizer_, nullptr, Clock::Real(), RandomSource::System());
  DurableScriptCounts all;
  for (uint64_t seed = 1; seed <= 6 && !HasFailure(); ++seed) {
    DurableScriptOptions script;
    script.seed = seed * 2 + static_cast<uint64_t>(GetParam());
    script.vocabulary = ByteTokenizer::kVocabulary;
    script.host = seed % 2 == 0;
    options_.host_cache_bytes = script.host ? 3 << 20 : 0;
    const DurableScriptCounts counts = RunDurableScript(
        script, [this] { return Start(); }, *reference);
    all.turns += counts.turns;
    all.parks += counts.parks;
    all.restarts += counts.restarts;
    all.forks += counts.forks;
    all.rewinds += counts.rewinds;
    all.transfers += counts.transfers;
    all.interrupted += counts.interrupted;
  }
  std::printf("turns %d, parks %d, restarts %d, forks %d, rewinds %d, transfers %d, interrupted %d\n", all.turns,
              all.parks, all.restarts, all.forks, all.rewinds, all.transfers, all.interrupted);
  EXPECT_GE(all.turns, 900);
  EXPECT_GE(all.restarts, 40);
}

TEST_P(EngineDurabilityTest, AnAcknowledgedTurnIsThereAfterARestart) {
  Begin();
  const std::string id = NewSession();
  const TurnDelta turn = Finish(TextTurn("hello", 5, id));
  ASSERT_TRUE(turn.acknowledgement.has_value());
  EXPECT_EQ(turn.acknowledgement->turn, 1);
  EXPECT_EQ(turn.acknowledgement->durability, Durability::kJournal);
  const auto before = *engine_->GetSession(id);
  Begin();
  const auto after = engine_->GetSession(id);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->position, before.position);
  EXPECT_EQ(after->digest, turn.acknowledgement->digest);
  EXPECT_EQ(after->turns, 1);
  EXPECT_EQ(after->label, "x");
  EXPECT_EQ(after->state, SessionState::kParkedDisk);
  EXPECT_EQ(after->last_finish, before.last_finish);
  EXPECT_EQ(engine_->ListSessions(10, "")->sessions.size(), 1u);
}

TEST_P(EngineDurabilityTest, WithoutAJournalASessionEndsWithTheProcess) {
  Begin();
  const std::string id = NewSession(Durability::kNone);
  EXPECT_EQ(Finish(TextTurn("hello", 5, id)).acknowledgement->durability, Durability::kNone);
  EXPECT_EQ(engine_->ParkSession(id, ParkTarget::kDisk).status().code(), absl::StatusCode::kFailedPrecondition);
  Begin();
  EXPECT_EQ(engine_->GetSession(id).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(EngineDurabilityTest, ManyMoreSessionsThanSlots) {
  Begin();
  std::vector<std::string> ids;
  std::vector<TurnDelta> first;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(NewSession());
    first.push_back(Finish(TextTurn("hello " + std::to_string(i), 4, ids.back())));
  }
  for (int i = 0; i < 20; ++i) {
    TurnRequest request = TextTurn("again", 4, ids[static_cast<size_t>(i)]);
    request.expected_position = first[static_cast<size_t>(i)].usage.session_tokens_seen;
    EXPECT_TRUE(Finish(std::move(request)).status.ok());
  }
  EXPECT_GE(engine_->metrics().parks.load(), 30);
  EXPECT_GE(engine_->metrics().restores.load(), 17);
}

TEST_P(EngineDurabilityTest, ATurnThatIsSentAgainIsNotRunAgain) {
  Begin();
  const std::string id = NewSession();
  TurnRequest request = TextTurn("hello", 6, id);
  request.turn_id = "first";
  const TurnDelta once = Finish(request);
  const int64_t position = engine_->GetSession(id)->position;
  request.expected_position = 0;  // as it was when it was sent first
  TurnDelta again = Finish(request);
  EXPECT_EQ(again.token_ids, once.token_ids);
  EXPECT_EQ(again.text, once.text);
  EXPECT_EQ(engine_->GetSession(id)->position, position);
  Begin();
  again = Finish(request);
  EXPECT_EQ(again.token_ids, once.token_ids);
  EXPECT_EQ(again.text, once.text);
  EXPECT_EQ(again.finish_reason, once.finish_reason);
  EXPECT_EQ(again.acknowledgement->digest, once.acknowledgement->digest);
  EXPECT_EQ(engine_->GetSession(id)->position, position);
  request.turn_id = "second";
  request.expected_position = position;
  EXPECT_NE(Finish(request).token_ids, once.token_ids);
}

TEST_P(EngineDurabilityTest, TheRestOfATurn) {
  Begin();
  const std::string id = NewSession();
  EXPECT_EQ(engine_->ResumeTurn(id, 0).status().code(), absl::StatusCode::kNotFound);
  const TurnDelta whole = Finish(TextTurn("hello", 10, id));
  std::vector<std::string> texts;
  for (const int restart : {0, 1}) {
    for (size_t from = 0; from <= whole.token_ids.size(); ++from) {
      auto stream = engine_->ResumeTurn(id, static_cast<int64_t>(from));
      ASSERT_TRUE(stream.ok()) << stream.status();
      const TurnDelta rest = CollectTurn(**stream);
      EXPECT_EQ(rest.token_ids,
                std::vector<int32_t>(whole.token_ids.begin() + static_cast<ptrdiff_t>(from), whole.token_ids.end()));
      EXPECT_TRUE(rest.finished);
      if (restart == 0) texts.push_back(rest.text);
      EXPECT_EQ(rest.text, texts[from]);  // no more than is missing
      EXPECT_EQ(rest.acknowledgement->digest, whole.acknowledgement->digest);
    }
    EXPECT_EQ(engine_->ResumeTurn(id, 100).status().code(), absl::StatusCode::kInvalidArgument);
    if (restart == 0) Begin();
  }
}

TEST_P(EngineDurabilityTest, ARunningTurnIsFollowedAndLeftAlone) {
  Begin();
  const std::string id = NewSession();
  model_->Hold();
  auto stream = engine_->Submit(TextTurn("hello", 8, id));
  ASSERT_TRUE(stream.ok());
  model_->WaitUntilHeld();
  auto follower = engine_->ResumeTurn(id, 0);
  ASSERT_TRUE(follower.ok()) << follower.status();
  (*follower)->Cancel();
  model_->ReleaseAll();
  const TurnDelta whole = CollectTurn(**stream), followed = CollectTurn(**follower);
  EXPECT_TRUE(whole.status.ok());
  EXPECT_EQ(followed.token_ids, whole.token_ids);
  EXPECT_EQ(followed.text, whole.text);
}

TEST_P(EngineDurabilityTest, DrainParksEverySession) {
  Begin();
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(NewSession());
    Finish(TextTurn("hello " + std::to_string(i), 4, ids.back()));
  }
  engine_->StopAdmission();
  const DrainReport report = engine_->Drain(std::chrono::steady_clock::now() + std::chrono::seconds(30));
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(engine_->metrics().sessions_parked_disk.load(), 5);
  Begin();
  for (const std::string& id : ids) EXPECT_TRUE(Finish(TextTurn("more", 2, id)).status.ok());
  EXPECT_EQ(engine_->metrics().replayed_tokens.load(), 0);  // the images were new
}

TEST_P(EngineDurabilityTest, ALongSessionIsNotReadAgainFromItsBegin) {
  Begin();
  const std::string id = NewSession();
  Finish(IdsTurn(std::vector<int32_t>(6000, 'a'), 1, id));
  for (int i = 0; i < 20; ++i) Finish(IdsTurn(std::vector<int32_t>(137, 'b'), 3, id));
  while (engine_->metrics().images_written.load() < 10) usleep(1000);
  Begin();
  EXPECT_TRUE(Finish(TextTurn("more", 2, id)).status.ok());
  const int64_t interval = 4 * (64 + 16);
  EXPECT_LE(engine_->metrics().replayed_tokens.load(), interval + 140);
}

TEST_P(EngineDurabilityTest, WhatCannotBeParkedIsRefusedAndNothingIsLost) {
  options_.num_slots = 2;
  options_.host_cache_bytes = 0;
  Begin();
  const std::string journaled = NewSession();
  const std::string memory = NewSession(Durability::kNone);
  EXPECT_EQ(engine_->CreateSession("", Durability::kNone).status().code(), absl::StatusCode::kResourceExhausted);
  const TurnDelta one = Finish(TextTurn("one", 3, journaled));
  Finish(TextTurn("two", 3, memory));
  EXPECT_TRUE(Finish(TextTurn("one-shot", 3)).status.ok());  // the session with a journal makes room
  EXPECT_EQ(engine_->GetSession(journaled)->state, SessionState::kParkedDisk);
  EXPECT_TRUE(Finish(TextTurn("more", 3, journaled)).status.ok());
  EXPECT_EQ(engine_->GetSession(memory)->state, SessionState::kResident);
}

TEST_P(EngineDurabilityTest, ADamagedSessionIsSetAside) {
  Begin();
  const std::string good = NewSession(), bad = NewSession();
  Finish(TextTurn("good", 3, good));
  Finish(TextTurn("bad", 3, bad));
  engine_.reset();
  End();
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const std::string name = entry.path().filename();
    if (name.rfind(bad, 0) != 0 || entry.path().extension() != ".journal") continue;
    std::FILE* file = std::fopen(entry.path().c_str(), "r+b");
    std::fseek(file, 300, SEEK_SET);
    std::fputc(0x5A ^ std::fgetc(file), file);
    std::fclose(file);
  }
  std::atomic<int> told{0};
  options_.on_damaged_session = [&](const std::string& session, const absl::Status& damage) {
    EXPECT_EQ(session, bad.substr(0, 8));
    EXPECT_EQ(damage.code(), absl::StatusCode::kDataLoss);
    told.fetch_add(1);
  };
  Begin();
  EXPECT_EQ(engine_->GetSession(bad).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(engine_->Submit(TextTurn("x", 1, bad)).status().code(), absl::StatusCode::kDataLoss);
  // Nor does anybody take it for a device that is lost.
  int64_t position = 0;
  EXPECT_EQ(engine_->InspectSession(bad, {}, {}, &position).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(engine_->ForkSession(bad, "", std::nullopt).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(engine_->ParkSession(bad, ParkTarget::kAny).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(engine_->ExportSession(bad, false).status().code(), absl::StatusCode::kDataLoss);
  RewindRequest rewind;
  rewind.session_id = bad;
  EXPECT_EQ(engine_->RewindSession(rewind).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Finish(TextTurn("more", 2, good)).status.ok());
  EXPECT_EQ(told.load(), 1);
  EXPECT_EQ(engine_->metrics().sessions_damaged.load(), 1);
  EXPECT_TRUE(engine_->DeleteSession(bad).ok());
  EXPECT_EQ(engine_->GetSession(bad).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(EngineDurabilityTest, ADeletedSessionLeavesNoFile) {
  Begin();
  for (int i = 0; i < 3; ++i) {
    const std::string id = NewSession();
    Finish(IdsTurn(std::vector<int32_t>(900, 'a'), 2, id));
    EXPECT_TRUE(engine_->ParkSession(id, ParkTarget::kDisk).ok());
    EXPECT_TRUE(engine_->DeleteSession(id).ok());
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      EXPECT_EQ(entry.path().filename().string().rfind(id, 0), std::string::npos) << entry.path();
    }
  }
}

TEST_P(EngineDurabilityTest, ABadDurabilityIsRefused) {
  Begin();
  const std::string journaled = NewSession(), memory = NewSession(Durability::kNone);
  TurnRequest request = TextTurn("x", 1, journaled);
  request.durability = Durability::kNone;
  EXPECT_EQ(engine_->Submit(request).status().code(), absl::StatusCode::kFailedPrecondition);
  request = TextTurn("x", 1, memory);
  request.durability = Durability::kImage;
  EXPECT_EQ(engine_->Submit(request).status().code(), absl::StatusCode::kFailedPrecondition);
  request = TextTurn("x", 1, journaled);
  request.durability = Durability::kImage;
  EXPECT_EQ(Finish(request).acknowledgement->durability, Durability::kImage);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineDurabilityTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
