#include "engine/turn_validation.h"

#include <cmath>
#include <functional>

#include "gtest/gtest.h"

namespace cascade {
namespace {

constexpr TurnLimits kLimits = {.vocabulary = 1000, .max_prompt_bytes = 100, .has_chat_template = true};

TurnRequest GoodRequest() {
  TurnRequest request;
  request.prompt = TextPrompt{.text = "hello"};
  return request;
}

struct Case {
  const char* name;
  std::function<void(TurnRequest&)> change;
  std::string message;  // "": valid
};

class TurnValidationTest : public ::testing::TestWithParam<Case> {};

TEST_P(TurnValidationTest, NamesTheField) {
  TurnRequest request = GoodRequest();
  GetParam().change(request);
  const absl::Status status = ValidateTurn(request, kLimits);
  EXPECT_EQ(std::string(status.message().data(), status.message().size()), GetParam().message);
  EXPECT_EQ(status.code(), GetParam().message.empty() ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
}

Case Temperature(const char* name, float value, const char* got) {
  return {name, [=](TurnRequest& r) { r.sampling.temperature = value; },
          *got ? std::string("sampling.temperature must be in [0, 2], got ") + got : ""};
}
Case TopK(const char* name, int value, const char* got) {
  return {name, [=](TurnRequest& r) { r.sampling.top_k = value; },
          *got ? std::string("sampling.top_k must be in [0, 1000], got ") + got : ""};
}
Case TopP(const char* name, float value, const char* got) {
  return {name, [=](TurnRequest& r) { r.sampling.top_p = value; },
          *got ? std::string("sampling.top_p must be in (0, 1], got ") + got : ""};
}
Case MinP(const char* name, float value, const char* got) {
  return {name, [=](TurnRequest& r) { r.sampling.min_p = value; },
          *got ? std::string("sampling.min_p must be in [0, 1], got ") + got : ""};
}
Case Stop(const char* name, std::vector<std::string> stop, const char* message) {
  return {name, [=](TurnRequest& r) { r.stop = stop; }, message};
}
Case Ids(const char* name, std::vector<int32_t> ids, const char* message) {
  return {name, [=](TurnRequest& r) { r.prompt = ids; }, message};
}

std::string Name(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Sampling, TurnValidationTest,
                         ::testing::Values(Temperature("Cold", 0, ""), Temperature("MinusZero", -0.0f, ""),
                                           Temperature("Hot", 2, ""), Temperature("TooHot", 2.5f, "2.5"),
                                           Temperature("Negative", -1, "-1"), Temperature("Nan", NAN, "nan"),
                                           Temperature("Inf", INFINITY, "inf"), TopK("All", 0, ""),
                                           TopK("Vocabulary", 1000, ""), TopK("Over", 1001, "1001"),
                                           TopK("Minus", -1, "-1"), TopP("One", 1, ""), TopP("Tiny", 1e-30f, ""),
                                           TopP("Zero", 0, "0"), TopP("Above", 1.5f, "1.5"), TopP("PNan", NAN, "nan"),
                                           MinP("MinZero", 0, ""), MinP("MinOne", 1, ""), MinP("MinAbove", 2, "2"),
                                           MinP("MinNegative", -0.5f, "-0.5"), MinP("MinNan", NAN, "nan")),
                         Name);

INSTANTIATE_TEST_SUITE_P(Stopping, TurnValidationTest,
                         ::testing::Values(Case{"FeedOnly", [](TurnRequest& r) { r.max_tokens = 0; }, ""},
                                           Case{"Negative", [](TurnRequest& r) { r.max_tokens = -1; },
                                                "stopping.max_tokens must be at least 0, got -1"},
                                           Stop("Most", std::vector<std::string>(16, std::string(256, 'x')), ""),
                                           Stop("TooMany", std::vector<std::string>(17, "x"),
                                                "stopping.stop must have at most 16 strings, got 17"),
                                           Stop("Empty", {"a", ""}, "stopping.stop[1] must have 1 to 256 bytes, got 0"),
                                           Stop("TooLong", {std::string(257, 'x')},
                                                "stopping.stop[0] must have 1 to 256 bytes, got 257")),
                         Name);

INSTANTIATE_TEST_SUITE_P(
    Prompt, TurnValidationTest,
    ::testing::Values(
        Case{"LongestText", [](TurnRequest& r) { r.prompt = TextPrompt{.text = std::string(100, 'x')}; }, ""},
        Case{"TextTooLong", [](TurnRequest& r) { r.prompt = TextPrompt{.text = std::string(101, 'x')}; },
             "prompt.text must be at most max_prompt_bytes = 100 bytes, got 101"},
        Case{"MessagesTooLong",
             [](TurnRequest& r) {
               r.prompt = std::vector<ChatMessage>{{"user", std::string(60, 'x')}, {"user", std::string(60, 'x')}};
             },
             "prompt.messages must be at most max_prompt_bytes = 100 bytes, got 128"},
        Case{"ScoreMessages",
             [](TurnRequest& r) {
               r.kind = TurnKind::kScore;
               r.prompt = std::vector<ChatMessage>{{"user", "x"}};
             },
             "prompt.messages must not be set: what is scored is text or token_ids"},
        Ids("FirstAndLastId", {0, 999}, ""), Ids("NoIds", {}, ""),
        Ids("IdTooLarge", {1, 1000}, "prompt.token_ids.ids[1] must be in [0, 1000)"),
        Ids("IdNegative", {-1}, "prompt.token_ids.ids[0] must be in [0, 1000)"),
        Ids("TooManyIds", std::vector<int32_t>(26, 1),
            "prompt.token_ids must be at most max_prompt_bytes = 100 bytes, got 104")),
    Name);

INSTANTIATE_TEST_SUITE_P(Session, TurnValidationTest,
                         ::testing::Values(Case{"Position",
                                                [](TurnRequest& r) {
                                                  r.session_id = "s";
                                                  r.expected_position = 0;
                                                },
                                                ""},
                                           Case{"NegativePosition",
                                                [](TurnRequest& r) {
                                                  r.session_id = "s";
                                                  r.expected_position = -5;
                                                },
                                                "expected_position must be at least 0, got -5"},
                                           Case{"PositionWithoutSession",
                                                [](TurnRequest& r) { r.expected_position = 0; },
                                                "expected_position must not be set without session_id"}),
                         Name);

TEST(TurnValidationTemplateTest, MessagesNeedATemplate) {
  TurnRequest request;
  request.prompt = std::vector<ChatMessage>{{"user", "x"}};
  TurnLimits limits = kLimits;
  EXPECT_TRUE(ValidateTurn(request, limits).ok());
  limits.has_chat_template = false;
  EXPECT_EQ(ValidateTurn(request, limits).code(), absl::StatusCode::kInvalidArgument);
}

TEST(TurnValidationScoreTest, SamplingAndStoppingDoNotMatter) {
  TurnRequest request = GoodRequest();
  request.kind = TurnKind::kScore;
  request.sampling.temperature = NAN;
  EXPECT_TRUE(ValidateTurn(request, kLimits).ok());
}

}  // namespace
}  // namespace cascade
