// What requests and responses say about sessions that last.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "server/convert.h"
#include "server/grpc_status.h"

namespace cascade {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

std::string FieldOf(const absl::Status& status) {
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(FieldOfMessage(std::string(status.message())));
}

v1::GenerateRequest SessionTurn() {
  v1::GenerateRequest wire;
  wire.set_session_id("s");
  wire.mutable_prompt()->set_text("hello");
  return wire;
}

v1::ScoreRequest SessionScore() {
  v1::ScoreRequest wire;
  wire.set_session_id("s");
  wire.mutable_prompt()->set_text("hello");
  return wire;
}

TEST(TurnOfASession, Defaults) {
  const auto turn = ToTurnRequest(SessionTurn(), SteadyTime::max());
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->turn_id, "");
  EXPECT_EQ(turn->on_cancel, OnCancel::kKeep);
  EXPECT_FALSE(turn->durability.has_value());
}

TEST(TurnOfASession, EveryValue) {
  const std::pair<v1::OnCancel, OnCancel> ends[] = {{v1::ON_CANCEL_UNSPECIFIED, OnCancel::kKeep},
                                                    {v1::ON_CANCEL_KEEP, OnCancel::kKeep},
                                                    {v1::ON_CANCEL_ROLLBACK, OnCancel::kRollback},
                                                    {v1::ON_CANCEL_CONTINUE, OnCancel::kContinue}};
  const std::pair<v1::Durability, Durability> durabilities[] = {{v1::DURABILITY_NONE, Durability::kNone},
                                                                {v1::DURABILITY_JOURNAL, Durability::kJournal},
                                                                {v1::DURABILITY_IMAGE, Durability::kImage}};
  for (const auto& [wire_end, end] : ends) {
    for (const auto& [wire_durability, durability] : durabilities) {
      v1::GenerateRequest wire = SessionTurn();
      wire.set_turn_id("a turn~");
      wire.set_on_cancel(wire_end);
      wire.set_durability(wire_durability);
      const auto turn = ToTurnRequest(wire, SteadyTime::max());
      ASSERT_TRUE(turn.ok()) << turn.status();
      EXPECT_EQ(turn->turn_id, "a turn~");
      EXPECT_EQ(turn->on_cancel, end);
      EXPECT_EQ(turn->durability, durability);
    }
  }
  v1::ScoreRequest wire = SessionScore();
  wire.set_on_cancel(v1::ON_CANCEL_ROLLBACK);
  wire.set_durability(v1::DURABILITY_IMAGE);
  const auto turn = ToTurnRequest(wire, SteadyTime::max());
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->on_cancel, OnCancel::kRollback);
  EXPECT_EQ(turn->durability, Durability::kImage);
}

template <class Request>
using BadFields = std::vector<std::pair<const char*, std::function<void(Request*)>>>;

template <class Request>
void ExpectNamed(const Request& good, const BadFields<Request>& rows) {
  for (const auto& [field, spoil] : rows) {
    Request wire = good;
    spoil(&wire);
    EXPECT_EQ(FieldOf(ToTurnRequest(wire, SteadyTime::max()).status()), field) << wire.ShortDebugString();
  }
}

// Fields of both kinds of requests.
template <class Request>
void ExpectBadFieldsNamed(const Request& good) {
  const BadFields<Request> rows = {
      {"on_cancel", [](auto* wire) { wire->set_on_cancel(static_cast<v1::OnCancel>(4)); }},
      {"on_cancel", [](auto* wire) { wire->set_on_cancel(static_cast<v1::OnCancel>(-1)); }},
      {"durability", [](auto* wire) { wire->set_durability(static_cast<v1::Durability>(4)); }},
      {"durability", [](auto* wire) { wire->set_durability(static_cast<v1::Durability>(-1)); }},
      {"expected_position", [](auto* wire) { wire->set_expected_position(kMin); }},
      // They are for sessions.
      {"on_cancel", [](auto* wire) { wire->clear_session_id(), wire->set_on_cancel(v1::ON_CANCEL_KEEP); }},
      {"durability", [](auto* wire) { wire->clear_session_id(), wire->set_durability(v1::DURABILITY_NONE); }}};
  ExpectNamed(good, rows);
}

TEST(TurnOfASession, BadNamesOfTurnsAreNamed) {
  ExpectNamed<v1::GenerateRequest>(SessionTurn(),
                                   {{"turn_id", [](auto* wire) { wire->set_turn_id(std::string(65, 'x')); }},
                                    {"turn_id", [](auto* wire) { wire->set_turn_id("two\nlines"); }},
                                    {"turn_id", [](auto* wire) { wire->set_turn_id("é"); }},
                                    {"turn_id", [](auto* wire) { wire->set_turn_id("\x7F"); }},
                                    {"turn_id", [](auto* wire) { wire->set_turn_id(std::string(1, '\0')); }},
                                    {"turn_id", [](auto* wire) { wire->clear_session_id(), wire->set_turn_id("x"); }}});
}

TEST(TurnOfASession, BadFieldsAreNamed) {
  ExpectBadFieldsNamed(SessionTurn());
  ExpectBadFieldsNamed(SessionScore());
}

TEST(TurnOfASession, WhatIsScoredDoesNotContinue) {
  v1::ScoreRequest wire = SessionScore();
  wire.set_on_cancel(v1::ON_CANCEL_CONTINUE);
  EXPECT_EQ(FieldOf(ToTurnRequest(wire, SteadyTime::max()).status()), "on_cancel");
}

TEST(ToRewindRequest, OneOrTheOther) {
  v1::RewindSessionRequest wire;
  EXPECT_EQ(FieldOf(ToRewindRequest(wire).status()), "session_id");
  wire.set_session_id("s");
  auto rewind = ToRewindRequest(wire);
  ASSERT_TRUE(rewind.ok());
  EXPECT_EQ(rewind->session_id, "s");
  EXPECT_EQ(rewind->take_back, 1);
  EXPECT_FALSE(rewind->to_turn.has_value() || rewind->expected_position.has_value() || rewind->allow_replay);

  wire.set_to_turn(0);
  wire.set_expected_position(0);
  wire.set_allow_replay(true);
  rewind = ToRewindRequest(wire);
  ASSERT_TRUE(rewind.ok());
  EXPECT_EQ(rewind->to_turn, 0);
  EXPECT_EQ(rewind->expected_position, 0);
  EXPECT_TRUE(rewind->allow_replay);
  EXPECT_FALSE(rewind->take_back.has_value());

  wire.set_take_back(1);
  EXPECT_EQ(FieldOf(ToRewindRequest(wire).status()), "take_back");
  wire.clear_to_turn();
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, kMin}) {
    wire.set_take_back(bad);
    EXPECT_EQ(FieldOf(ToRewindRequest(wire).status()), "take_back");
  }
  wire.clear_take_back();
  for (const int64_t bad : {int64_t{-1}, kMin}) {
    wire.set_to_turn(bad);
    EXPECT_EQ(FieldOf(ToRewindRequest(wire).status()), "to_turn");
  }
  wire.set_to_turn(5);
  wire.set_expected_position(-1);
  EXPECT_EQ(FieldOf(ToRewindRequest(wire).status()), "expected_position");
}

TEST(Enums, UnknownNumbersAreNamed) {
  EXPECT_EQ(*ToParkTarget(v1::PARK_TARGET_UNSPECIFIED), ParkTarget::kAny);
  EXPECT_EQ(*ToParkTarget(v1::PARK_TARGET_HOST), ParkTarget::kHost);
  EXPECT_EQ(*ToParkTarget(v1::PARK_TARGET_DISK), ParkTarget::kDisk);
  EXPECT_EQ(*ToDurability("durability", v1::DURABILITY_UNSPECIFIED), std::nullopt);
  EXPECT_EQ(*ToDurability("durability", v1::DURABILITY_NONE), Durability::kNone);
  for (const int bad : {-1, 3, 4, 1000, std::numeric_limits<int>::max()}) {
    EXPECT_EQ(FieldOf(ToParkTarget(static_cast<v1::ParkTarget>(bad)).status()), "target") << bad;
    if (bad == 3) continue;
    EXPECT_EQ(FieldOf(ToDurability("options.durability", static_cast<v1::Durability>(bad)).status()),
              "options.durability")
        << bad;
  }
}

TEST(FromSeq, IsNotNegative) {
  v1::ResumeTurnRequest wire;
  EXPECT_EQ(*FromSeq(wire), 0);
  wire.set_from_seq(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(*FromSeq(wire), std::numeric_limits<int64_t>::max());
  for (const int64_t bad : {int64_t{-1}, kMin}) {
    wire.set_from_seq(bad);
    EXPECT_EQ(FieldOf(FromSeq(wire).status()), "from_seq");
  }
}

TEST(CheckLabel, NamesTheFieldThatItIsIn) {
  EXPECT_EQ(FieldOf(CheckLabel("two words", "options.label")), "options.label");
}

// A client that has the first k messages may go on from the seq of the k-th: no token and no text is missing then.
TEST(NextPiece, SeqNeverSkips) {
  TurnDelta delta;
  delta.seq = 1000 + 40'000;
  delta.token_ids.assign(40'000, 7);
  delta.text = std::string(1 << 20, 'x');
  delta.finished = true;
  DeltaPosition position;
  v1::GenerateResponse response;
  int pieces = 1;
  for (; !NextPiece(delta, &position, &response); ++pieces) {
    EXPECT_EQ(response.seq(), 1000);
    EXPECT_FALSE(response.has_acknowledgement());
  }
  EXPECT_EQ(response.seq(), 41'000);
  EXPECT_GE(pieces, 4);

  delta = {};
  delta.text = "x";
  delta.token_ids = {1};
  delta.seq = 3;
  position = {};
  EXPECT_TRUE(NextPiece(delta, &position, &response));
  EXPECT_EQ(response.seq(), 3);
}

TEST(NextPiece, AcknowledgementComesWithTheEnd) {
  TurnDelta delta;
  delta.text = std::string(1 << 20, 'x');
  delta.finished = true;
  delta.acknowledgement = {.turn = 7, .digest = 0xFFFF'FFFF'0000'0001, .durability = Durability::kImage};
  DeltaPosition position;
  v1::GenerateResponse response;
  while (!NextPiece(delta, &position, &response)) EXPECT_FALSE(response.has_acknowledgement());
  EXPECT_EQ(response.acknowledgement().turn(), 7);
  EXPECT_EQ(response.acknowledgement().digest(), 0xFFFF'FFFF'0000'0001);
  EXPECT_EQ(response.acknowledgement().durability(), v1::DURABILITY_IMAGE);

  delta.text.clear();
  delta.acknowledgement->durability = Durability::kNone;
  position = {};
  v1::ScoreResponse scores;
  EXPECT_TRUE(NextPiece(delta, &position, &scores));
  EXPECT_EQ(scores.acknowledgement().turn(), 7);
  EXPECT_EQ(scores.acknowledgement().durability(), v1::DURABILITY_NONE);
  delta.acknowledgement.reset();
  position = {};
  EXPECT_TRUE(NextPiece(delta, &position, &scores));
  EXPECT_FALSE(scores.has_acknowledgement());
}

TEST(ToWire, WhereASessionIsAndHowItLasts) {
  const std::pair<SessionState, v1::SessionState> states[] = {
      {SessionState::kResident, v1::SESSION_STATE_RESIDENT},
      {SessionState::kBusy, v1::SESSION_STATE_BUSY},
      {SessionState::kParkedHost, v1::SESSION_STATE_PARKED_HOST},
      {SessionState::kParkedDisk, v1::SESSION_STATE_PARKED_DISK}};
  SessionInfo session;
  session.durability = Durability::kJournal;
  session.digest = ~uint64_t{0};
  session.journal_bytes = int64_t{1} << 40;
  for (const auto& [state, wire] : states) {
    session.state = state;
    EXPECT_EQ(ToWire(session, {}).state(), wire);
  }
  EXPECT_EQ(ToWire(session, {}).durability(), v1::DURABILITY_JOURNAL);
  EXPECT_EQ(ToWire(session, {}).digest(), ~uint64_t{0});
  EXPECT_EQ(ToWire(session, {}).journal_bytes(), int64_t{1} << 40);
}

}  // namespace
}  // namespace cascade
