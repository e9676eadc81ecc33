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

Case Change(const char* name, std::function<void(TurnRequest&)> change, const char* message) {
  return {name, std::move(change), message};
}
Case Repetition(const char* name, float value, const char* message) {
  return {name, [=](TurnRequest& r) { r.sampling.repetition_penalty = value; }, message};
}
Case LastN(const char* name, int value, const char* message) {
  return {name, [=](TurnRequest& r) { r.sampling.repeat_last_n = value; }, message};
}
Case Frequency(const char* name, float value, const char* message) {
  return {name, [=](TurnRequest& r) { r.sampling.frequency_penalty = value; }, message};
}
Case Presence(const char* name, float value, const char* message) {
  return {name, [=](TurnRequest& r) { r.sampling.presence_penalty = value; }, message};
}
Case Bias(const char* name, std::vector<std::pair<int32_t, float>> bias, const char* message) {
  return {name, [=](TurnRequest& r) { r.sampling.logit_bias = bias; }, message};
}
std::vector<std::pair<int32_t, float>> ManyBiases(int count) {
  std::vector<std::pair<int32_t, float>> bias;
  for (int i = 0; i < count; ++i) bias.emplace_back(i % 1000, 1.0f);
  return bias;
}
Case Allowed(const char* name, std::vector<int32_t> ids, const char* message) {
  return {name, [=](TurnRequest& r) { r.sampling.allowed_token_ids = ids; }, message};
}
Case StopIds(const char* name, std::vector<int32_t> ids, const char* message) {
  return {name, [=](TurnRequest& r) { r.stop_token_ids = ids; }, message};
}

INSTANTIATE_TEST_SUITE_P(
    Rules, TurnValidationTest,
    ::testing::Values(Repetition("RepetitionMost", 2, ""), Repetition("RepetitionTiny", 1e-30f, ""),
                      Repetition("RepetitionZero", 0, "sampling.repetition_penalty must be in (0, 2], got 0"),
                      Repetition("RepetitionNan", NAN, "sampling.repetition_penalty must be in (0, 2], got nan"),
                      Repetition("RepetitionAbove", 2.5f, "sampling.repetition_penalty must be in (0, 2], got 2.5"),
                      LastN("LastNone", 0, ""), LastN("LastMost", 1024, ""),
                      LastN("LastMinus", -1, "sampling.repeat_last_n must be in [0, 1024], got -1"),
                      LastN("LastTooMany", 1025, "sampling.repeat_last_n must be in [0, 1024], got 1025"),
                      Frequency("FrequencyMost", 2, ""), Frequency("FrequencyLeast", -2, ""),
                      Frequency("FrequencyAbove", 2.5f, "sampling.frequency_penalty must be in [-2, 2], got 2.5"),
                      Frequency("FrequencyNan", NAN, "sampling.frequency_penalty must be in [-2, 2], got nan"),
                      Presence("PresenceBelow", -2.5f, "sampling.presence_penalty must be in [-2, 2], got -2.5"),
                      Presence("PresenceNan", NAN, "sampling.presence_penalty must be in [-2, 2], got nan"),
                      Bias("BiasEnds", {{0, -100.0f}, {999, 100.0f}}, ""),
                      Bias("BiasId", {{1000, 1.0f}}, "sampling.logit_bias must have ids in [0, 1000)"),
                      Bias("BiasNegativeId", {{-1, 1.0f}}, "sampling.logit_bias must have ids in [0, 1000)"),
                      Bias("BiasValue", {{1, -101.0f}},
                           "sampling.logit_bias must have values in [-100, 100], got -101"),
                      Bias("BiasNan", {{1, NAN}}, "sampling.logit_bias must have values in [-100, 100], got nan"),
                      Bias("BiasTwice", {{1, 1.0f}, {2, 1.0f}, {1, 2.0f}}, "sampling.logit_bias must have no id twice"),
                      Bias("BiasTooMany", ManyBiases(1025), "sampling.logit_bias must have at most 1024 ids, got 1025"),
                      Allowed("AllowedEnds", {999, 0}, ""),
                      Allowed("AllowedId", {1, 1000}, "sampling.allowed_token_ids[1] must be in [0, 1000)"),
                      Allowed("AllowedTwice", {1, 2, 1}, "sampling.allowed_token_ids[2] must not be there twice"),
                      Allowed("AllowedTooMany", std::vector<int32_t>(65537),
                              "sampling.allowed_token_ids must have at most 65536 ids, got 65537")),
    Name);

INSTANTIATE_TEST_SUITE_P(
    Output, TurnValidationTest,
    ::testing::Values(
        StopIds("StopIdsEnds", {0, 999}, ""),
        StopIds("StopId", {-1}, "stopping.stop_token_ids[0] must be in [0, 1000)"),
        StopIds("StopIdTwice", {4, 4}, "stopping.stop_token_ids[1] must not be there twice"),
        StopIds("StopIdsTooMany", std::vector<int32_t>(17), "stopping.stop_token_ids must have at most 16 ids, got 17"),
        Change(
            "MinIsMax", [](TurnRequest& r) { r.max_tokens = 5, r.min_tokens = 5; }, ""),
        Change(
            "MinOfTheDefault", [](TurnRequest& r) { r.min_tokens = 1024; }, ""),
        Change(
            "MinOverMax", [](TurnRequest& r) { r.max_tokens = 5, r.min_tokens = 6; },
            "stopping.min_tokens must be in [0, max_tokens = 5], got 6"),
        Change(
            "MinOverTheDefault", [](TurnRequest& r) { r.min_tokens = 1025; },
            "stopping.min_tokens must be in [0, max_tokens = 1024], got 1025"),
        Change(
            "MinNegative", [](TurnRequest& r) { r.min_tokens = -1; },
            "stopping.min_tokens must be in [0, max_tokens = 1024], got -1"),
        Change(
            "Logprobs", [](TurnRequest& r) { r.logprobs = 20, r.prompt_logprobs = 0; }, ""),
        Change(
            "LogprobsAbove", [](TurnRequest& r) { r.logprobs = 21; }, "logprobs must be in [0, 20], got 21"),
        Change(
            "PromptLogprobsBelow", [](TurnRequest& r) { r.prompt_logprobs = -1; },
            "prompt_logprobs must be in [0, 20], got -1"),
        Change(
            "Priority", [](TurnRequest& r) { r.priority = -100; }, ""),
        Change(
            "PriorityAbove", [](TurnRequest& r) { r.priority = 101; }, "priority must be in [-100, 100], got 101"),
        Change(
            "EchoOfIds", [](TurnRequest& r) { r.echo = true, r.prompt = std::vector<int32_t>{1}; }, ""),
        Change(
            "EchoOfMessages",
            [](TurnRequest& r) {
              r.echo = true;
              r.prompt = std::vector<ChatMessage>{{"user", "x"}};
            },
            "echo must not be set with prompt.messages"),
        Change(
            "SchemaTooLarge", [](TurnRequest& r) { r.json_schema = std::string(65537, ' '); },
            "response_format must have at most 65536 bytes, got 65537"),
        Change(
            "SchemaWithoutEnd", [](TurnRequest& r) { r.json_schema = "{}", r.ignore_eos = true; },
            "stopping.ignore_eos must not be set with response_format: the reply ends with its document")),
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
