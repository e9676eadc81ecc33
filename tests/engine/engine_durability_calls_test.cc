// What calls on sessions with a journal do to each other: at once, sent again, and of two servers on one folder.
#include <algorithm>
#include <filesystem>

#include "tests/engine/engine_durability_fixture.h"

namespace cascade {
namespace {

class EngineDurabilityCallsTest : public EngineDurabilityTest {
 protected:
  // Another server on the same folder.
  struct Neighbour {
    std::unique_ptr<Vault> vault;
    std::unique_ptr<FakeModel> model;
    std::unique_ptr<Engine> engine;
  };
  Neighbour StartNeighbour() {
    Neighbour other;
    other.vault = *Vault::Open(*directory_,
                               {.cache_bytes = FakeModel(options_.geometry, 1, 1).SlotBytes(kernels::SlotPart::kAll)},
                               RandomSource::System());
    other.model = MakeModel(GetParam());
    EngineOptions options = options_;
    options.vault = other.vault.get();
    other.engine = *Engine::Create(options, *other.model, tokenizer_, nullptr, Clock::Real(), RandomSource::System());
    return other;
  }
  int FilesOf(const std::string& id) const {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      files += entry.path().filename().string().rfind(id, 0) == 0 ? 1 : 0;
    }
    return files;
  }
};

TEST_P(EngineDurabilityCallsTest, ReadersOfExportsHoldUpNobody) {
  Begin();
  std::vector<std::string> ids;
  std::vector<SessionExport> exports;  // of clients that do not read
  for (int i = 0; i < 8; ++i) {
    ids.push_back(NewSession());
    Finish(TextTurn("hello", 3, ids.back()));
    auto bytes = engine_->ExportSession(ids.back(), false);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    exports.push_back(*std::move(bytes));
  }
  for (const std::string& id : ids) {
    EXPECT_TRUE(engine_->ParkSession(id, ParkTarget::kDisk).ok());
    EXPECT_TRUE(Finish(TextTurn("more", 3, id)).status.ok());
  }
}

TEST_P(EngineDurabilityCallsTest, ATurnOfNothingLeavesTheSessionAsItIs) {
  Begin();
  const std::string id = NewSession();
  const TurnDelta turn = Finish(TextTurn("hello", 5, id));
  Begin();  // its cache is on the disk, with a digest that is not known before it is brought in
  const TurnDelta nothing = Finish(IdsTurn({}, 0, id));
  EXPECT_TRUE(nothing.status.ok()) << nothing.status;
  EXPECT_FALSE(nothing.acknowledgement.has_value());
  EXPECT_EQ(engine_->GetSession(id)->digest, turn.acknowledgement->digest);
  EXPECT_EQ(engine_->GetSession(id)->turns, 1);
  const auto fork = engine_->ForkSession(id, "", std::nullopt);
  ASSERT_TRUE(fork.ok()) << fork.status();
  Begin();
  EXPECT_EQ(engine_->GetSession(fork->id)->digest, turn.acknowledgement->digest);
  EXPECT_TRUE(Finish(TextTurn("more", 2, fork->id)).status.ok());
}

TEST_P(EngineDurabilityCallsTest, AnAppendOfOneTokenIsNotRepeated) {
  Begin();
  const std::string id = NewSession();
  TurnRequest request = IdsTurn({'a'}, 0, id);
  request.turn_id = "first";
  EXPECT_TRUE(Finish(request).status.ok());
  EXPECT_TRUE(Finish(request).status.ok());
  EXPECT_EQ(engine_->GetSession(id)->position, 1);
  RewindRequest rewind;
  rewind.session_id = id;
  const auto back = engine_->RewindSession(rewind);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->position, 0);
}

TEST_P(EngineDurabilityCallsTest, ATurnThatIsSentAgainWhileItRunsIsFollowed) {
  Begin();
  const std::string id = NewSession();
  TurnRequest request = TextTurn("hello", 6, id);
  request.turn_id = "first";
  model_->Hold();
  auto stream = engine_->Submit(request);
  ASSERT_TRUE(stream.ok());
  auto again = engine_->Submit(request);
  ASSERT_TRUE(again.ok()) << again.status();
  request.turn_id = "second";
  EXPECT_EQ(engine_->Submit(request).status().code(), absl::StatusCode::kAborted);
  model_->ReleaseAll();
  EXPECT_EQ(CollectTurn(**again).token_ids, CollectTurn(**stream).token_ids);
}

TEST_P(EngineDurabilityCallsTest, AnUndoneTurnDoesNotHideTheOneBefore) {
  Begin();
  const std::string id = NewSession();
  TurnRequest first = TextTurn("hello", 6, id);
  first.turn_id = "first";
  const TurnDelta once = Finish(first);
  TurnRequest undone = TextTurn("more", 500, id);
  undone.turn_id = "undone";
  undone.on_cancel = OnCancel::kRollback;
  model_->Hold();
  auto stream = engine_->Submit(undone);
  ASSERT_TRUE(stream.ok());
  model_->WaitUntilHeld();
  (*stream)->Cancel();
  model_->ReleaseAll();
  EXPECT_EQ(CollectTurn(**stream).finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(Finish(first).token_ids, once.token_ids);
  EXPECT_EQ(engine_->GetSession(id)->digest, once.acknowledgement->digest);
}

TEST_P(EngineDurabilityCallsTest, FollowersAreBoundedAndForgotten) {
  Begin();
  const std::string id = NewSession();
  model_->Hold();
  auto stream = engine_->Submit(TextTurn("hello", 8, id));
  ASSERT_TRUE(stream.ok());
  std::vector<std::shared_ptr<TokenStream>> followers;
  absl::Status status;
  while (followers.size() < 100) {
    auto follower = engine_->ResumeTurn(id, 0);
    status = follower.status();
    if (!status.ok()) break;
    followers.push_back(*std::move(follower));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(followers.size(), 16u);
  model_->ReleaseAll();
  const TurnDelta whole = CollectTurn(**stream);
  for (const auto& follower : followers) EXPECT_EQ(CollectTurn(*follower).token_ids, whole.token_ids);
}

TEST_P(EngineDurabilityCallsTest, ASessionOfAnotherServerIsNotRemoved) {
  Begin();
  const std::string id = NewSession();
  Finish(TextTurn("hello", 3, id));
  Begin();                             // knows it from the folder and has not used it
  Neighbour other = StartNeighbour();  // so does this one
  auto stream = other.engine->Submit(TextTurn("more", 3, id));
  ASSERT_TRUE(stream.ok()) << stream.status();
  const TurnDelta turn = CollectTurn(**stream);
  ASSERT_TRUE(turn.status.ok()) << turn.status;
  EXPECT_EQ(engine_->DeleteSession(id).code(), absl::StatusCode::kUnavailable);
  EXPECT_GT(FilesOf(id), 0);
  // Nor is it served as it was.
  EXPECT_EQ(engine_->GetSession(id).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->Submit(TextTurn("x", 1, id)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(other.engine->GetSession(id)->digest, turn.acknowledgement->digest);
  // When that one has ended, it goes on here.
  other = Neighbour();
  const auto mine = engine_->GetSession(id);
  ASSERT_TRUE(mine.ok()) << mine.status();
  EXPECT_EQ(mine->digest, turn.acknowledgement->digest);
  EXPECT_TRUE(Finish(TextTurn("again", 2, id)).status.ok());
}

TEST_P(EngineDurabilityCallsTest, ATurnOfATakenSessionIsRefusedAndTheSessionForgotten) {
  Begin();
  const std::string id = NewSession();
  Finish(TextTurn("hello", 3, id));
  Begin();
  {
    Neighbour other = StartNeighbour();
    auto stream = other.engine->Submit(TextTurn("more", 3, id));
    ASSERT_TRUE(stream.ok()) << stream.status();
    CollectTurn(**stream);
    auto refused = engine_->Submit(TextTurn("x", 1, id));  // what is known here is from before
    ASSERT_TRUE(refused.ok());
    EXPECT_EQ(CollectTurn(**refused).status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(engine_->GetSession(id).status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_TRUE(Finish(TextTurn("again", 2, id)).status.ok());
}

TEST_P(EngineDurabilityCallsTest, DamageThatIsMetLaterCanBeDeletedToo) {
  std::atomic<int> told{0};
  options_.on_damaged_session = [&](const std::string&, const absl::Status&) { told.fetch_add(1); };
  Begin();
  Neighbour other = StartNeighbour();
  const auto made = other.engine->CreateSession("", std::nullopt);
  ASSERT_TRUE(made.ok());
  auto stream = other.engine->Submit(TextTurn("hello", 3, made->id));
  ASSERT_TRUE(stream.ok());
  CollectTurn(**stream);
  other = Neighbour();
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (entry.path().extension() == ".journal") std::filesystem::resize_file(entry.path(), 100);
  }
  EXPECT_EQ(engine_->GetSession(made->id).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(told.load(), 1);
  EXPECT_TRUE(engine_->DeleteSession(made->id).ok());
  EXPECT_EQ(FilesOf(made->id), 0);
  EXPECT_EQ(engine_->GetSession(made->id).status().code(), absl::StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineDurabilityCallsTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace cascade
