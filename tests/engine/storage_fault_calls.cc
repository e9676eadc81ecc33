// What a client does on a disk that may fail, and what it knows afterwards.
#include <algorithm>
#include <utility>

#include "engine/base/token_digest.h"
#include "tests/engine/storage_fault_fixture.h"

namespace cascade::test {

std::vector<int32_t> StorageFaultTest::Ids(int count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random_() % 256);
  return ids;
}

const std::vector<int32_t>& StorageFaultTest::Expected(const std::vector<int32_t>& ids, int count) {
  const auto [entry, fresh] = expected_.try_emplace({ids, count});
  if (fresh) {
    auto stream = reference_->Submit(IdsTurn(ids, count));
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (stream.ok()) entry->second = CollectTurn(**stream).token_ids;
  }
  return entry->second;
}

absl::Status StorageFaultTest::Turn(FaultyChat& chat, int prompt, int reply, std::optional<Durability> durability) {
  std::vector<int32_t> after = chat.ids;
  TurnRequest request = IdsTurn(Ids(prompt), reply, chat.id);
  const auto& ids = std::get<std::vector<int32_t>>(request.prompt);
  after.insert(after.end(), ids.begin(), ids.end());
  const std::vector<int32_t>& expected = Expected(after, reply);
  after.insert(after.end(), expected.begin(), expected.end());
  request.expected_position = static_cast<int64_t>(chat.ids.size());
  request.durability = durability;
  ++counts_.failed;  // until it is over
  auto stream = engine_->Submit(std::move(request));
  if (!stream.ok()) return stream.status();
  const TurnDelta turn = CollectTurn(**stream);
  EXPECT_EQ(turn.acknowledgement.has_value(), turn.status.ok());
  if (!turn.status.ok()) {
    EXPECT_TRUE(turn.token_ids.empty() || turn.token_ids == expected);
    if (!turn.token_ids.empty()) chat.maybe.push_back(after);
    const auto session = engine_->GetSession(chat.id);
    const bool as_before = session.ok() && session->position == static_cast<int64_t>(chat.ids.size()) &&
                           session->digest == ExtendTokenDigest(0, chat.ids);
    EXPECT_TRUE(as_before) << session.status();
    return turn.status;
  }
  --counts_.failed;
  ++counts_.turns;
  EXPECT_EQ(turn.token_ids, expected);
  EXPECT_EQ(turn.acknowledgement->digest, ExtendTokenDigest(0, after));
  chat.turns.push_back(chat.ids.size());
  chat.ids = std::move(after);
  chat.maybe.clear();
  return absl::OkStatus();
}

void StorageFaultTest::Added(const absl::StatusOr<SessionInfo>& made, const std::vector<int32_t>& ids, size_t turns) {
  if (!made.ok()) {
    EXPECT_FALSE(absl::IsNotFound(made.status())) << made.status();
    EXPECT_FALSE(made.status().message().empty());
    strays_.push_back(ids);
    return;
  }
  EXPECT_EQ(made->position, static_cast<int64_t>(ids.size()));
  chats_.push_back({.id = made->id,
                    .ids = ids,
                    .turns = std::vector<size_t>(turns),
                    .maybe = {},
                    .gone = false,
                    .may_be_gone = false});
}

void StorageFaultTest::Create() { Added(engine_->CreateSession("", std::nullopt), {}, 0); }

void StorageFaultTest::Fork(FaultyChat& origin) {
  const std::vector<int32_t> ids = origin.ids;
  Added(engine_->ForkSession(origin.id, "", std::nullopt), ids, 0);
}

void StorageFaultTest::Rewind(FaultyChat& chat, int64_t take_back) {
  RewindRequest request;
  request.session_id = chat.id;
  request.take_back = take_back;
  request.allow_replay = true;
  const auto rewound = engine_->RewindSession(request);
  const size_t left = chat.turns.size() - static_cast<size_t>(take_back);
  const std::vector<int32_t> after(chat.ids.begin(), chat.ids.begin() + static_cast<ptrdiff_t>(chat.turns[left]));
  if (!rewound.ok()) {
    chat.maybe.push_back(after);
    return;
  }
  EXPECT_EQ(rewound->digest, ExtendTokenDigest(0, after));
  chat.ids = after;
  chat.turns.resize(left);
  chat.maybe.clear();
}

void StorageFaultTest::Move(FaultyChat& origin) {
  const std::vector<int32_t> ids = origin.ids;
  const auto exported = engine_->ExportSession(origin.id, true);
  if (!exported.ok()) return;
  auto import = engine_->ImportSession();
  ASSERT_TRUE(import.ok()) << import.status();
  ASSERT_TRUE((*import)->Add(exported->head).ok());
  if (exported->cache != nullptr) {
    const auto bytes = exported->cache->bytes();
    ASSERT_TRUE((*import)->Add({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}).ok());
  }
  Added((*import)->Finish("", std::nullopt, false), ids, 1);
}

void StorageFaultTest::Delete(FaultyChat& chat) {
  (engine_->DeleteSession(chat.id).ok() ? chat.gone : chat.may_be_gone) = true;
}

void StorageFaultTest::Drain() {
  draining_ = true;
  engine_->StopAdmission();
  const DrainReport report = engine_->Drain(clock_->Now() + std::chrono::hours(1));
  EXPECT_EQ(report.turns_cut, 0);
  EXPECT_TRUE(report.sessions_left == 0 || faulted());
}

}  // namespace cascade::test
