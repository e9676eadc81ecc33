#include "tests/engine/storage_fault_fixture.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/token_digest.h"

namespace cascade::test {
namespace {

constexpr Fault kFaults[] = {Fault::kNoSpace, Fault::kIoError, Fault::kShortWrite, Fault::kFailedSync,
                             Fault::kFailedRename};
constexpr Broken kBroken[] = {Broken::kOnce, Broken::kForAWhile, Broken::kToTheEnd};
constexpr const char* kBrokenNames[] = {"once", "for a while", "to the end"};

size_t CountEntries(const char* folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

bool SameTokens(const SessionInfo& session, const std::vector<int32_t>& ids) {
  return session.position == static_cast<int64_t>(ids.size()) && session.digest == ExtendTokenDigest(0, ids);
}

}  // namespace

StorageFaultTest::Counts StorageFaultTest::all_;

StorageFaultTest::StorageFaultTest() {
  engine_options_.geometry = SmallGeometry();
  engine_options_.num_slots = 6;
  engine_options_.max_num_sessions = 20;
  engine_options_.max_num_seqs = 2;
  engine_options_.max_num_batched_tokens = 32;
  engine_options_.rewind_turns = 1;
  reference_model_ = std::make_unique<FakeModel>(engine_options_.geometry, ByteTokenizer::kVocabulary,
                                                 engine_options_.max_num_batched_tokens);
  reference_ = *Engine::Create(engine_options_, *reference_model_, tokenizer_, nullptr, reference_clock_,
                               RandomSource::System());
  engine_options_.durability = Durability::kJournal;
  options_.cache_bytes = reference_model_->SlotBytes(kernels::SlotPart::kAll);
  options_.keep_turn_starts = static_cast<size_t>(engine_options_.rewind_turns);
}

StorageFaultTest::~StorageFaultTest() { Close(); }

void StorageFaultTest::TearDownTestSuite() {
  std::printf(
      "scenarios %lld, file operations %lld, runs %lld, faults %lld, turns %lld (%lld more failed), "
      "restarts %lld\n",
      static_cast<long long>(all_.scenarios), static_cast<long long>(all_.operations),
      static_cast<long long>(all_.runs), static_cast<long long>(all_.faults), static_cast<long long>(all_.turns),
      static_cast<long long>(all_.failed), static_cast<long long>(all_.restarts));
}

StorageFaultTest::Level StorageFaultTest::MeasureLevel() {
  return {CountEntries("/proc/self/fd"), CountEntries("/proc/self/task")};
}

int64_t StorageFaultTest::image_interval() const {
  return 4 * (int64_t{engine_options_.geometry.cache_tokens()} + engine_options_.geometry.stride);
}

int64_t StorageFaultTest::Images() const {
  return engine_->metrics().images_written.load() + engine_->metrics().image_failures.load();
}

// Servers.

absl::Status StorageFaultTest::Open() {
  auto vault = Vault::Open(*faulty_, options_, source_);
  if (!vault.ok()) return vault.status();
  vault_ = *std::move(vault);
  model_ = std::make_unique<FakeModel>(engine_options_.geometry, ByteTokenizer::kVocabulary,
                                       engine_options_.max_num_batched_tokens);
  model_->on_step = on_step_;
  EngineOptions options = engine_options_;
  options.vault = vault_.get();
  auto engine = Engine::Create(options, *model_, tokenizer_, nullptr, *clock_, source_);
  if (!engine.ok()) return engine.status();
  engine_ = *std::move(engine);
  draining_ = false;
  return absl::OkStatus();
}

void StorageFaultTest::Close() {
  engine_.reset();
  if (model_ != nullptr) {
    EXPECT_THAT(model_->violations(), IsEmpty());
  }
  model_.reset();
  vault_.reset();
  if (faulty_ == nullptr) return;
  EXPECT_EQ(faulty_->open_files(), 0);
  EXPECT_EQ(faulty_->held_locks(), 0);
  EXPECT_EQ(faulty_->uses_after_failure(), 0);
}

void StorageFaultTest::Repair() {
  faulty_ = std::make_unique<FaultyDirectory>(std::make_unique<QuickDirectory>(path_));
}

void StorageFaultTest::PrepareFolder() {
  Close();
  GoBackTo({});
  Repair();
  clock_ = std::make_unique<FakeClock>();
  chats_.clear();
  random_.seed(7);
  ASSERT_TRUE(Open().ok());
  for (int i = 0; i < 3; ++i) Create();
  ASSERT_EQ(chats_.size(), 3u);
  for (FaultyChat& chat : chats_) {
    for (int turn = 0; turn < 2; ++turn) ASSERT_TRUE(Turn(chat, 12, 3).ok());
    if (&chat != &plain()) Park(chat);
  }
  main_image_ = static_cast<int64_t>(main().ids.size()) - 1;
  for (int turn = 0; turn < 2; ++turn) ASSERT_TRUE(Turn(main(), 7, 2).ok());
  Close();
  saved_ = chats_;
  folder_ = Save();
}

void StorageFaultTest::Begin(const Scenario& scenario) {
  GoBackTo(folder_);
  Repair();
  clock_ = std::make_unique<FakeClock>();
  chats_ = saved_;
  strays_.clear();
  random_.seed(8);
  ASSERT_TRUE(Open().ok());
  ASSERT_EQ(engine_->ListSessions(10, "")->sessions.size(), chats_.size());  // all have been read when this returns
  scenario.prepare();
  if (scenario.starts) Close();
}

void StorageFaultTest::TryEveryFault(const Scenario& scenario) {
  const Level level = MeasureLevel();
  PrepareFolder();
  level_ = level;
  Begin(scenario);
  faulty_->Heal();
  scenario.run();
  const int64_t operations = faulty_->operations();
  GoOn(scenario, Broken::kOnce);
  ExpectAllThere(Broken::kOnce);
  ++counts_.runs;
  for (const Fault fault : kFaults) {
    int64_t next = 0;
    for (int64_t operation = 1; operation <= operations && !HasFailure(); operation = next + 1) {
      for (const Broken broken : kBroken) {
        SCOPED_TRACE(absl::StrCat(scenario.name, ": fault ", static_cast<int>(fault), " at ", operation, " of ",
                                  operations, ", ", kBrokenNames[static_cast<int>(broken)]));
        Begin(scenario);
        const int64_t before = faulty_->faults_fired();
        faulty_->FailAt(operation, fault, broken != Broken::kOnce);
        scenario.run();
        counts_.faults += faulty_->faults_fired() - before;
        if (broken == Broken::kOnce) next = faulty_->last_fault();
        GoOn(scenario, broken);
        ExpectAllThere(broken);
        ++counts_.runs;
        if (HasFailure()) return;
        if (next == 0) break;  // none of the operations from here on can have it
      }
      if (next == 0) break;
    }
  }
  std::printf("%s: file operations %lld, runs %lld, faults %lld, turns %lld (%lld more failed), restarts %lld\n",
              scenario.name, static_cast<long long>(operations), static_cast<long long>(counts_.runs),
              static_cast<long long>(counts_.faults), static_cast<long long>(counts_.turns),
              static_cast<long long>(counts_.failed), static_cast<long long>(counts_.restarts));
  EXPECT_GE(counts_.faults, scenario.min_faults);
  EXPECT_GE(counts_.turns, 2 * counts_.runs);
  EXPECT_EQ(counts_.restarts, counts_.runs);
  all_.scenarios += 1;
  all_.operations += operations;
  all_.runs += counts_.runs;
  all_.faults += counts_.faults;
  all_.turns += counts_.turns;
  all_.failed += counts_.failed;
  all_.restarts += counts_.restarts;
}

// What must hold.

// The engine is alive: on a disk that is good again it does everything.
void StorageFaultTest::GoOn(const Scenario& scenario, Broken broken) {
  const bool fired = faulted();
  if (broken != Broken::kToTheEnd) faulty_->Heal();
  if (engine_ == nullptr) return;  // it could not be made, and said so
  if (!draining_) {
    const std::vector<int32_t> prompt = Ids(6);
    auto stream = engine_->Submit(IdsTurn(prompt, 3));
    ASSERT_TRUE(stream.ok()) << stream.status();
    const TurnDelta alone = CollectTurn(**stream);
    if (broken == Broken::kToTheEnd && absl::IsResourceExhausted(alone.status)) {
      // Whoever has the only slot cannot be parked.
      EXPECT_EQ(engine_options_.num_slots, 1);
    } else {
      EXPECT_TRUE(alone.status.ok()) << alone.status;
      EXPECT_EQ(alone.token_ids, Expected(prompt, 3));
    }
  }
  if (broken == Broken::kToTheEnd) return;
  for (FaultyChat& chat : chats_) {
    if (chat.gone) {
      // Also if its files are still there.
      EXPECT_TRUE(absl::IsNotFound(engine_->GetSession(chat.id).status()));
    }
    if (draining_ || chat.gone || chat.may_be_gone) continue;
    const absl::Status status = Turn(chat, 4, 3);
    // What a device could not read is taken for damaged, until the next start.
    const bool set_aside = scenario.reads_all && fired && absl::IsDataLoss(status);
    EXPECT_TRUE(status.ok() || set_aside) << status;
  }
  const size_t before = chats_.size();
  Drain();
  ASSERT_EQ(chats_.size(), before);
  EXPECT_EQ(engine_->SlotsFree(), engine_options_.num_slots);
}

// A new server, on a disk that is good.
void StorageFaultTest::ExpectAllThere(Broken broken) {
  Close();
  Repair();
  const absl::Status opened = Open();
  ASSERT_TRUE(opened.ok()) << opened;
  ++counts_.restarts;
  auto page = engine_->ListSessions(100, "");  // reads all
  if (engine_options_.session_ttl.count() > 0) {
    // Those that have expired meanwhile are unlisted now, and their files are gone when this server has ended.
    (void)engine_->ListSessions(100, "");
    Close();
    ASSERT_TRUE(Open().ok());
    page = engine_->ListSessions(100, "");
  }
  ASSERT_TRUE(page.ok());
  ExpectOnlyLivingFiles(page->sessions);
  for (const SessionInfo& session : page->sessions) ExpectAlike(session, broken);
  for (const FaultyChat& chat : chats_) {
    const bool there = std::ranges::any_of(page->sessions, [&](const SessionInfo& one) { return one.id == chat.id; });
    EXPECT_TRUE(there || chat.gone || chat.may_be_gone) << "a session is lost";
    EXPECT_TRUE(!there || !chat.gone) << "a session is there again";
    if (!there) {
      EXPECT_TRUE(absl::IsNotFound(engine_->GetSession(chat.id).status()));
    }
  }
  if (HasFailure()) return;
  for (const SessionInfo& session : page->sessions) {
    const absl::Status status = engine_->DeleteSession(session.id);
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(engine_->SlotsFree(), engine_options_.num_slots);
  Close();
  faulty_.reset();
  EXPECT_THAT(Names(), ::testing::ElementsAre("seal.key"));
  // A thread that was joined is listed for a moment more.
  while (MeasureLevel().threads > level_.threads) usleep(100);
  EXPECT_EQ(MeasureLevel(), level_);
}

void StorageFaultTest::ExpectAlike(const SessionInfo& session, Broken broken) {
  const auto info = engine_->GetSession(session.id);
  ASSERT_TRUE(info.ok()) << info.status();
  auto chat = std::ranges::find(chats_, session.id, &FaultyChat::id);
  if (chat == chats_.end()) {
    // Its maker was told that it failed: it is there only if the disk did not let it go.
    EXPECT_NE(broken, Broken::kOnce) << "a session that nobody has";
    chats_.push_back({.id = session.id, .ids = {}, .turns = {}, .maybe = strays_, .gone = false, .may_be_gone = true});
    chat = std::prev(chats_.end());
    ASSERT_FALSE(strays_.empty()) << "a session that nobody asked for";
    chat->ids = strays_.front();
  }
  if (!SameTokens(*info, chat->ids)) {
    const auto found = std::ranges::find_if(chat->maybe, [&](const auto& ids) { return SameTokens(*info, ids); });
    ASSERT_NE(found, chat->maybe.end()) << "it has " << info->position << " tokens, not " << chat->ids.size();
    chat->ids = *found;
  }
  const absl::Status status = Turn(*chat, 4, 3);
  EXPECT_TRUE(status.ok()) << status;
}

void StorageFaultTest::ExpectOnlyLivingFiles(const std::vector<SessionInfo>& living) {
  const std::vector<std::string> names = Names();
  const VaultListing listing = ReadListing(names);
  EXPECT_THAT(listing.temporaries, IsEmpty());
  EXPECT_THAT(listing.owners, ::testing::SizeIs(1));
  size_t known = 2;  // the owner's file and the key
  for (const auto& [key, files] : listing.sessions) {
    EXPECT_FALSE(files.removed);
    EXPECT_TRUE(std::ranges::any_of(living, [&](const SessionInfo& one) { return one.id == ToHex(key); }));
    known += files.segments.size() + files.images.size();
  }
  EXPECT_EQ(names.size(), known);
}

}  // namespace cascade::test
