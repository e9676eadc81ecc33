#include "engine/session/session_store.h"

#include <atomic>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_random.h"

namespace cascade {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class SessionStoreTest : public ::testing::Test {
 protected:
  SessionStoreTest() {
    geometry_.sub_cache_tokens = {8, 8};
    geometry_.stride = 4;
  }
  SessionStore MakeStore(int slots, seconds ttl = seconds(0)) {
    return SessionStore(geometry_, {.num_slots = slots, .max_sessions = 1000, .ttl = ttl}, clock_, random_);
  }
  // As the engine makes one without a journal.
  static absl::StatusOr<SessionInfo> Create(SessionStore& store, const std::string& label) {
    auto made = store.CreateBusy(label, Durability::kNone);
    if (!made.ok()) return made.status();
    return made->lease.Become(made->lease.Snapshot());
  }
  static std::string MustCreate(SessionStore& store, const std::string& label = "") {
    const auto info = Create(store, label);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->id : "";
  }
  static absl::StatusOr<AcquiredSession> Acquire(SessionStore& store, const std::string& id) {
    return store.Acquire(id, std::nullopt, [] {});
  }

  CascadeGeometry geometry_;
  FakeClock clock_;
  FakeRandom random_;
};

TEST_F(SessionStoreTest, HandlesAre128RandomBits) {
  SessionStore store = MakeStore(100);
  std::set<std::string> ids;
  for (int i = 0; i < 99; ++i) {
    const std::string id = MustCreate(store);
    EXPECT_EQ(id.size(), 32u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 99u);
}

TEST_F(SessionStoreTest, OneSlotStaysForOneShotTurns) {
  SessionStore store = MakeStore(3);
  const std::string first = MustCreate(store);
  MustCreate(store);
  EXPECT_EQ(Create(store, "").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(store.slots_free(), 3);  // a session has none before it has tokens
  EXPECT_TRUE(store.Delete(first).ok());
  MustCreate(store);
  EXPECT_EQ(MakeStore(1).CreateBusy("", Durability::kNone).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(SessionStoreTest, OneShotTurnsMayTakeAllSlots) {
  SessionStore store = MakeStore(2);
  const std::optional<int> a = store.TakeSlot();
  const std::optional<int> b = store.TakeSlot();
  ASSERT_TRUE(a && b);
  EXPECT_NE(*a, *b);
  EXPECT_FALSE(store.TakeSlot());
  store.ReturnSlot(*a);
  EXPECT_EQ(store.TakeSlot(), a);
}

TEST_F(SessionStoreTest, ASessionThatIsMadeBusyBecomesWhatItIsTold) {
  SessionStore store = MakeStore(3);
  auto made = store.CreateBusy("copy", Durability::kNone);
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string id = store.List(10, "")->sessions.back().id;
  EXPECT_EQ(store.Get(id)->state, SessionState::kBusy);
  EXPECT_EQ(store.Acquire(id, std::nullopt, [] {}).status().code(), absl::StatusCode::kAborted);
  Session session = made->lease.Snapshot();
  session.cache.plan = CascadePlan(geometry_, 40);
  session.cache.pending = 7;
  session.home = SessionHome::kSlot;
  made->lease.TakeSlot(*store.TakeSlot());
  const SessionInfo info = made->lease.Become(session);
  EXPECT_EQ(info.id, id);
  EXPECT_EQ(info.label, "copy");
  EXPECT_EQ(info.state, SessionState::kResident);
  EXPECT_EQ(info.position, 41);
  EXPECT_EQ(store.slots_free(), 2);
  const auto acquired = store.Acquire(id, 41, [] {});
  ASSERT_TRUE(acquired.ok()) << acquired.status();
  EXPECT_EQ(acquired->cache.pending, 7);
  EXPECT_EQ(acquired->lease.Place().home, SessionHome::kSlot);
}

TEST_F(SessionStoreTest, AMoveTakesAnIdleSessionOutOfItsSlot) {
  SessionStore store = MakeStore(3);
  const auto fill = [&](const std::string& id) {
    auto acquired = Acquire(store, id);
    acquired->lease.TakeSlot(*store.TakeSlot());
    SessionCache cache = acquired->cache;
    cache.plan = CascadePlan(geometry_, 9);
    cache.pending = 1;
    acquired->lease.Finish(cache, ReplyEnd::kNone, FinishReason::kStop);
    clock_.Advance(seconds(1));
  };
  const std::string older = MustCreate(store), newer = MustCreate(store);
  EXPECT_FALSE(store.BeginMove(SessionHome::kSlot, false).has_value());
  fill(older);
  fill(newer);
  EXPECT_EQ(store.slots_free(), 1);
  EXPECT_FALSE(store.BeginMove(SessionHome::kSlot, /*with_journal=*/true).has_value());
  auto move = store.BeginMove(SessionHome::kSlot, false);
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->session->id, older);  // used longest ago
  // A turn may come meanwhile; it waits.
  auto waiting = Acquire(store, older);
  ASSERT_TRUE(waiting.ok());
  EXPECT_TRUE(waiting->lease.Place().moving);
  EXPECT_FALSE(store.BeginMoveOf(older).has_value());
  store.EndMove(*move, SessionHome::kHost, nullptr);
  EXPECT_FALSE(waiting->lease.Place().moving);
  EXPECT_EQ(store.AcquireStill(older, std::nullopt).status().code(), absl::StatusCode::kAborted);  // with a turn
  EXPECT_EQ(waiting->lease.Place().home, SessionHome::kHost);
  EXPECT_EQ(store.slots_free(), 2);
  waiting->lease.Release();
  EXPECT_EQ(store.Get(older)->state, SessionState::kParkedHost);
  EXPECT_EQ(store.Get(newer)->state, SessionState::kResident);
  // What was brought in and fed is in its slot again; what was brought in and left is not.
  for (const bool finished : {false, true}) {
    auto again = Acquire(store, older);
    again->lease.TakeSlot(*store.TakeSlot());
    if (finished) {
      again->lease.BroughtIn(0);
      again->lease.Finish(again->cache, ReplyEnd::kNone, FinishReason::kStop);
    }
    again->lease.Release();
    EXPECT_EQ(store.Get(older)->state, finished ? SessionState::kResident : SessionState::kParkedHost);
    EXPECT_EQ(store.slots_free(), finished ? 1 : 2);
  }
}

TEST_F(SessionStoreTest, CallersThatNeedASessionStillWaitForItsMove) {
  SessionStore store = MakeStore(2);
  const std::string id = MustCreate(store);
  auto move = store.BeginMoveOf(id);
  ASSERT_TRUE(move.has_value());
  std::atomic<bool> acquired{false};
  std::thread caller([&] {
    const auto session = store.AcquireStill(id, std::nullopt);
    EXPECT_TRUE(session.ok()) << session.status();
    EXPECT_FALSE(session->lease.Place().moving);
    acquired.store(true);
  });
  while (store.Get(id)->state != SessionState::kBusy) std::this_thread::yield();
  EXPECT_FALSE(acquired.load());
  store.EndMove(*move, SessionHome::kNone, nullptr);
  caller.join();
  EXPECT_TRUE(acquired.load());
}

TEST_F(SessionStoreTest, ASessionThatCouldNotBeReadIsReadAgainUnlessItIsDamaged) {
  SessionStore store = MakeStore(3);
  FoundSession found;
  found.session[0] = 1;
  const std::string id = ToHex(found.session);
  store.AddFound({found});
  ASSERT_TRUE(store.BeginReading(id).has_value());
  store.EndReading(id, absl::ResourceExhaustedError("no descriptor"), nullptr);
  EXPECT_TRUE(store.NeedsReading(id));
  ASSERT_TRUE(store.BeginReading(id).has_value());
  store.EndReading(id, absl::DataLossError("damaged"), nullptr);
  EXPECT_FALSE(store.NeedsReading(id));
  EXPECT_EQ(store.Get(id).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(store.Delete(id).ok());
}

TEST_F(SessionStoreTest, Labels) {
  SessionStore store = MakeStore(10);
  for (const std::string& good : {std::string(), std::string("a-B_9"), std::string(64, 'x')}) {
    const auto info = Create(store, good);
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->label, good);
  }
  for (const std::string& bad :
       {std::string("a b"), std::string("\xc3\xa9"), std::string(65, 'x'), std::string(1, '\0')}) {
    const auto info = Create(store, bad);
    EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(info.status().message().data()), HasSubstr("label"));
  }
}

TEST_F(SessionStoreTest, ALeaseMakesBusyUntilItIsGivenBack) {
  SessionStore store = MakeStore(2);
  const std::string id = MustCreate(store);
  {
    const auto session = Acquire(store, id);
    ASSERT_TRUE(session.ok());
    EXPECT_EQ(store.Get(id)->state, SessionState::kBusy);
    EXPECT_EQ(Acquire(store, id).status().code(), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(store.Get(id)->state, SessionState::kResident);
  EXPECT_EQ(store.Get(id)->turns, 0);

  auto session = Acquire(store, id);
  ASSERT_TRUE(session.ok());
  clock_.Advance(seconds(5));
  SessionCache cache = session->cache;
  cache.plan = CascadePlan(geometry_, 100);
  cache.pending = 7;
  session->lease.Finish(cache, ReplyEnd::kCut, FinishReason::kLength);
  const auto info = store.Get(id);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->state, SessionState::kResident);
  EXPECT_EQ(info->position, 101);
  EXPECT_EQ(info->tokens_resident + info->tokens_evicted, 101);
  EXPECT_EQ(info->turns, 1);
  EXPECT_EQ(info->last_finish, FinishReason::kLength);
  EXPECT_EQ(info->last_used - info->created, seconds(5));
  EXPECT_FALSE(info->expires.has_value());

  const auto wrong = store.Acquire(id, 100, [] {});
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(wrong.status().message().data()), HasSubstr("101"));
  const auto right = store.Acquire(id, 101, [] {});
  ASSERT_TRUE(right.ok());
  EXPECT_EQ(right->cache.pending, 7);
  EXPECT_EQ(right->reply_end, ReplyEnd::kCut);
}

TEST_F(SessionStoreTest, ALostSessionIsGone) {
  SessionStore store = MakeStore(2);
  const std::string id = MustCreate(store);
  auto session = Acquire(store, id);
  ASSERT_TRUE(session.ok());
  session->lease.Lose();
  EXPECT_EQ(store.Get(id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store.slots_free(), 2);
  EXPECT_EQ(store.size(), 0);
}

TEST_F(SessionStoreTest, UnknownExpiredAndDeletedAreAlike) {
  SessionStore store = MakeStore(3, seconds(10));
  const std::string expired = MustCreate(store);
  clock_.Advance(seconds(10));
  const std::string deleted = MustCreate(store);
  EXPECT_TRUE(store.Delete(deleted).ok());
  const absl::Status unknown = store.Get("0123").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store.Get(expired).status(), unknown);
  EXPECT_EQ(store.Get(deleted).status(), unknown);
  EXPECT_EQ(Acquire(store, expired).status(), unknown);
  EXPECT_EQ(store.Delete(deleted).status(), unknown);
}

TEST_F(SessionStoreTest, ExpiryCountsFromTheLastTurnAndSparesTheBusy) {
  SessionStore store = MakeStore(3, seconds(10));
  const std::string id = MustCreate(store);
  clock_.Advance(seconds(9));
  {
    auto session = Acquire(store, id);
    ASSERT_TRUE(session.ok());
    clock_.Advance(seconds(100));
    EXPECT_EQ(store.size(), 1);
    session->lease.Finish(session->cache, ReplyEnd::kNone, FinishReason::kStop);
  }
  clock_.Advance(seconds(9));
  const auto info = store.Get(id);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(*info->expires - info->last_used, seconds(10));
  clock_.Advance(seconds(1));
  EXPECT_EQ(store.size(), 0);
  EXPECT_EQ(store.slots_free(), 3);
}

TEST_F(SessionStoreTest, ExpiredSessionsMakeRoom) {
  SessionStore store = MakeStore(2, seconds(10));
  MustCreate(store);
  EXPECT_FALSE(Create(store, "").ok());
  clock_.Advance(seconds(10));
  MustCreate(store);
}

TEST_F(SessionStoreTest, PagesInOrderOfCreation) {
  SessionStore store = MakeStore(20);
  std::vector<std::string> ids;
  for (int i = 0; i < 7; ++i) ids.push_back(MustCreate(store));
  std::vector<std::string> listed;
  std::string token;
  int pages = 0;
  do {
    const auto page = store.List(3, token);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const SessionInfo& info : page->sessions) listed.push_back(info.id);
    token = page->next_page_token;
    if (pages++ == 0) {
      EXPECT_TRUE(store.Delete(ids[2]).ok());  // the page's last one; the next page begins after it all the same
      MustCreate(store);
    }
  } while (!token.empty());
  EXPECT_EQ(pages, 3);
  ASSERT_EQ(listed.size(), 8u);
  EXPECT_TRUE(std::equal(ids.begin(), ids.end(), listed.begin()));
  EXPECT_TRUE(store.List(8, "")->next_page_token.empty());
}

TEST_F(SessionStoreTest, ForeignPageTokensAndSizes) {
  SessionStore store = MakeStore(20);
  for (int i = 0; i < 3; ++i) MustCreate(store);
  const std::string token = store.List(1, "")->next_page_token;
  ASSERT_FALSE(token.empty());
  std::string high = token;
  high.replace(high.size() - 2, 2, "ff");
  std::string sign = token;
  sign[sign.size() - 16] = '-';
  SessionStore other = MakeStore(20);
  MustCreate(other);
  MustCreate(other);
  for (const std::string& bad : {std::string("x"), token + "0", token.substr(1), high, sign, std::string(32, '0'),
                                 other.List(1, "")->next_page_token}) {
    const auto page = store.List(1, bad);
    EXPECT_EQ(page.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(page.status().message().data()), HasSubstr("page_token"));
  }
  for (const int size : {0, -1, 1001}) {
    EXPECT_EQ(store.List(size, "").status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST_F(SessionStoreTest, DeleteCancelsAndWaits) {
  SessionStore store = MakeStore(2);
  const std::string id = MustCreate(store);
  std::atomic<bool> cancelled{false};
  std::atomic<bool> ended{false};
  auto session = store.Acquire(id, std::nullopt, [&] { cancelled.store(true); });
  ASSERT_TRUE(session.ok());
  std::thread turn([&, lease = std::move(session->lease)]() mutable {
    while (!cancelled.load()) std::this_thread::yield();
    ended.store(true);
    lease.Release();
  });
  EXPECT_TRUE(store.Delete(id).ok());
  EXPECT_TRUE(ended.load());
  EXPECT_EQ(store.slots_free(), 2);
  turn.join();
}

TEST_F(SessionStoreTest, ADeletedSessionsSlotIsNotReusedWhileItsTurnRuns) {
  SessionStore store = MakeStore(2);
  const std::string id = MustCreate(store);
  std::atomic<bool> cancelled{false};
  auto session = store.Acquire(id, std::nullopt, [&] { cancelled.store(true); });
  ASSERT_TRUE(session.ok());
  session->lease.TakeSlot(*store.TakeSlot());
  std::thread deleter([&] { EXPECT_TRUE(store.Delete(id).ok()); });
  while (!cancelled.load()) std::this_thread::yield();
  EXPECT_EQ(store.Get(id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store.slots_free(), 1);
  session->lease.Lose();  // whichever way the turn ends
  deleter.join();
  EXPECT_EQ(store.slots_free(), 2);
}

}  // namespace
}  // namespace cascade
