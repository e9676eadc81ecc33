// Every wrong request gets its documented code and one line that names the field; the server lives on, and a session
// that talks meanwhile notices nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <thread>

#include "tests/end_to_end/tiny_server.h"

namespace cascade::test {
namespace {

using grpc::StatusCode;

struct Row {
  const char* name;
  std::function<void(v1::GenerateRequest&)> spoil;
  StatusCode code;
  const char* names;  // a part of the message
};

const std::vector<Row>& Rows() {
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  static const std::vector<Row> rows = {
      {"no prompt", [](auto& r) { r.clear_prompt(); }, StatusCode::INVALID_ARGUMENT, "prompt"},
      {"empty text", [](auto& r) { r.mutable_prompt()->set_text(""); }, StatusCode::INVALID_ARGUMENT, "prompt"},
      {"no ids", [](auto& r) { r.mutable_prompt()->mutable_token_ids()->clear_ids(); }, StatusCode::INVALID_ARGUMENT,
       "prompt"},
      {"no messages", [](auto& r) { r.mutable_prompt()->mutable_messages(); }, StatusCode::INVALID_ARGUMENT, "prompt"},
      {"role of control characters",
       [](auto& r) {
         auto* message = r.mutable_prompt()->mutable_messages()->add_messages();
         message->set_role("us\ner");
         message->set_content("hello");
       },
       StatusCode::INVALID_ARGUMENT, "messages[0].role"},
      {"no role",  // which roles there are is the template's to say; ChatML takes any
       [](auto& r) {
         auto* message = r.mutable_prompt()->mutable_messages()->add_messages();
         message->set_role("");
         message->set_content("hello");
       },
       StatusCode::INVALID_ARGUMENT, "messages[0].role"},
      {"id -1", [](auto& r) { r.mutable_prompt()->mutable_token_ids()->add_ids(-1); }, StatusCode::INVALID_ARGUMENT,
       "token_ids"},
      {"id beyond the vocabulary", [](auto& r) { r.mutable_prompt()->mutable_token_ids()->add_ids(272); },
       StatusCode::INVALID_ARGUMENT, "token_ids"},
      {"id 2^31-1", [](auto& r) { r.mutable_prompt()->mutable_token_ids()->add_ids(2147483647); },
       StatusCode::INVALID_ARGUMENT, "token_ids"},
      {"temperature NaN", [=](auto& r) { r.mutable_sampling()->set_temperature(nan); }, StatusCode::INVALID_ARGUMENT,
       "sampling.temperature"},
      {"temperature -1", [](auto& r) { r.mutable_sampling()->set_temperature(-1); }, StatusCode::INVALID_ARGUMENT,
       "sampling.temperature"},
      {"temperature infinite", [=](auto& r) { r.mutable_sampling()->set_temperature(infinity); },
       StatusCode::INVALID_ARGUMENT, "sampling.temperature"},
      {"top_k -1", [](auto& r) { r.mutable_sampling()->set_top_k(-1); }, StatusCode::INVALID_ARGUMENT,
       "sampling.top_k"},
      {"top_k beyond the vocabulary", [](auto& r) { r.mutable_sampling()->set_top_k(273); },
       StatusCode::INVALID_ARGUMENT, "sampling.top_k"},
      {"top_p 0", [](auto& r) { r.mutable_sampling()->set_top_p(0); }, StatusCode::INVALID_ARGUMENT, "sampling.top_p"},
      {"top_p 1.1", [](auto& r) { r.mutable_sampling()->set_top_p(1.1f); }, StatusCode::INVALID_ARGUMENT,
       "sampling.top_p"},
      {"top_p NaN", [=](auto& r) { r.mutable_sampling()->set_top_p(nan); }, StatusCode::INVALID_ARGUMENT,
       "sampling.top_p"},
      {"min_p -0.1", [](auto& r) { r.mutable_sampling()->set_min_p(-0.1f); }, StatusCode::INVALID_ARGUMENT,
       "sampling.min_p"},
      {"min_p NaN", [=](auto& r) { r.mutable_sampling()->set_min_p(nan); }, StatusCode::INVALID_ARGUMENT,
       "sampling.min_p"},
      {"max_tokens -1", [](auto& r) { r.mutable_stopping()->set_max_tokens(-1); }, StatusCode::INVALID_ARGUMENT,
       "stopping.max_tokens"},
      {"empty stop string", [](auto& r) { r.mutable_stopping()->add_stop(""); }, StatusCode::INVALID_ARGUMENT,
       "stopping.stop"},
      {"long stop string", [](auto& r) { r.mutable_stopping()->add_stop(std::string(257, 'x')); },
       StatusCode::INVALID_ARGUMENT, "stopping.stop"},
      {"17 stop strings",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) r.mutable_stopping()->add_stop("x");
       },
       StatusCode::INVALID_ARGUMENT, "stopping.stop"},
      {"repetition_penalty 0", [](auto& r) { r.mutable_sampling()->set_repetition_penalty(0); },
       StatusCode::INVALID_ARGUMENT, "sampling.repetition_penalty"},
      {"repetition_penalty 2.1", [](auto& r) { r.mutable_sampling()->set_repetition_penalty(2.1f); },
       StatusCode::INVALID_ARGUMENT, "sampling.repetition_penalty"},
      {"repetition_penalty NaN", [=](auto& r) { r.mutable_sampling()->set_repetition_penalty(nan); },
       StatusCode::INVALID_ARGUMENT, "sampling.repetition_penalty"},
      {"repeat_last_n -1", [](auto& r) { r.mutable_sampling()->set_repeat_last_n(-1); }, StatusCode::INVALID_ARGUMENT,
       "sampling.repeat_last_n"},
      {"repeat_last_n 1025", [](auto& r) { r.mutable_sampling()->set_repeat_last_n(1025); },
       StatusCode::INVALID_ARGUMENT, "sampling.repeat_last_n"},
      {"frequency_penalty 2.1", [](auto& r) { r.mutable_sampling()->set_frequency_penalty(2.1f); },
       StatusCode::INVALID_ARGUMENT, "sampling.frequency_penalty"},
      {"frequency_penalty NaN", [=](auto& r) { r.mutable_sampling()->set_frequency_penalty(nan); },
       StatusCode::INVALID_ARGUMENT, "sampling.frequency_penalty"},
      {"presence_penalty -2.1", [](auto& r) { r.mutable_sampling()->set_presence_penalty(-2.1f); },
       StatusCode::INVALID_ARGUMENT, "sampling.presence_penalty"},
      {"presence_penalty infinite", [=](auto& r) { r.mutable_sampling()->set_presence_penalty(infinity); },
       StatusCode::INVALID_ARGUMENT, "sampling.presence_penalty"},
      {"logit_bias of id -1", [](auto& r) { (*r.mutable_sampling()->mutable_logit_bias())[-1] = 1; },
       StatusCode::INVALID_ARGUMENT, "sampling.logit_bias"},
      {"logit_bias beyond the vocabulary", [](auto& r) { (*r.mutable_sampling()->mutable_logit_bias())[272] = 1; },
       StatusCode::INVALID_ARGUMENT, "sampling.logit_bias"},
      {"logit_bias 101", [](auto& r) { (*r.mutable_sampling()->mutable_logit_bias())[1] = 101; },
       StatusCode::INVALID_ARGUMENT, "sampling.logit_bias"},
      {"logit_bias NaN", [=](auto& r) { (*r.mutable_sampling()->mutable_logit_bias())[1] = nan; },
       StatusCode::INVALID_ARGUMENT, "sampling.logit_bias"},
      {"allowed id -1", [](auto& r) { r.mutable_sampling()->add_allowed_token_ids(-1); }, StatusCode::INVALID_ARGUMENT,
       "sampling.allowed_token_ids[0]"},
      {"allowed id beyond the vocabulary", [](auto& r) { r.mutable_sampling()->add_allowed_token_ids(272); },
       StatusCode::INVALID_ARGUMENT, "sampling.allowed_token_ids[0]"},
      {"allowed id twice",
       [](auto& r) { r.mutable_sampling()->add_allowed_token_ids(1), r.mutable_sampling()->add_allowed_token_ids(1); },
       StatusCode::INVALID_ARGUMENT, "sampling.allowed_token_ids[1]"},
      {"allowed id that is forbidden",
       [](auto& r) {
         r.mutable_sampling()->add_allowed_token_ids(1), (*r.mutable_sampling()->mutable_logit_bias())[1] = -100;
       },
       StatusCode::INVALID_ARGUMENT, "sampling.allowed_token_ids"},
      {"min_tokens -1", [](auto& r) { r.mutable_stopping()->set_min_tokens(-1); }, StatusCode::INVALID_ARGUMENT,
       "stopping.min_tokens"},
      {"min_tokens over max_tokens", [](auto& r) { r.mutable_stopping()->set_min_tokens(5); },
       StatusCode::INVALID_ARGUMENT, "stopping.min_tokens"},
      {"stop token -1", [](auto& r) { r.mutable_stopping()->add_stop_token_ids(-1); }, StatusCode::INVALID_ARGUMENT,
       "stopping.stop_token_ids[0]"},
      {"stop token beyond the vocabulary", [](auto& r) { r.mutable_stopping()->add_stop_token_ids(272); },
       StatusCode::INVALID_ARGUMENT, "stopping.stop_token_ids[0]"},
      {"stop token twice",
       [](auto& r) { r.mutable_stopping()->add_stop_token_ids(3), r.mutable_stopping()->add_stop_token_ids(3); },
       StatusCode::INVALID_ARGUMENT, "stopping.stop_token_ids[1]"},
      {"logprobs -1", [](auto& r) { r.set_logprobs(-1); }, StatusCode::INVALID_ARGUMENT, "logprobs"},
      {"logprobs 21", [](auto& r) { r.set_logprobs(21); }, StatusCode::INVALID_ARGUMENT, "logprobs"},
      {"prompt_logprobs -1", [](auto& r) { r.set_prompt_logprobs(-1); }, StatusCode::INVALID_ARGUMENT,
       "prompt_logprobs"},
      {"prompt_logprobs 21", [](auto& r) { r.set_prompt_logprobs(21); }, StatusCode::INVALID_ARGUMENT,
       "prompt_logprobs"},
      {"priority 101", [](auto& r) { r.set_priority(101); }, StatusCode::INVALID_ARGUMENT, "priority"},
      {"priority -101", [](auto& r) { r.set_priority(-101); }, StatusCode::INVALID_ARGUMENT, "priority"},
      {"n 0", [](auto& r) { r.set_n(0); }, StatusCode::INVALID_ARGUMENT, "n must"},
      {"n 17", [](auto& r) { r.set_n(17); }, StatusCode::INVALID_ARGUMENT, "n must"},
      {"n 2 of a session", [](auto& r) { r.set_n(2), r.set_session_id("x"); }, StatusCode::INVALID_ARGUMENT, "n must"},
      {"echo of messages",
       [](auto& r) { r.set_echo(true), r.mutable_prompt()->mutable_messages()->add_messages()->set_role("user"); },
       StatusCode::INVALID_ARGUMENT, "echo"},
      {"no response_format", [](auto& r) { r.mutable_response_format(); }, StatusCode::INVALID_ARGUMENT,
       "response_format"},
      {"json_object false", [](auto& r) { r.mutable_response_format()->set_json_object(false); },
       StatusCode::INVALID_ARGUMENT, "response_format.json_object"},
      {"empty schema", [](auto& r) { r.mutable_response_format()->set_json_schema(""); }, StatusCode::INVALID_ARGUMENT,
       "response_format.json_schema"},
      {"a schema that is no JSON", [](auto& r) { r.mutable_response_format()->set_json_schema("{"); },
       StatusCode::INVALID_ARGUMENT, "response_format"},
      {"a schema over the limit",
       [](auto& r) { r.mutable_response_format()->set_json_schema(std::string(70000, ' ')); },
       StatusCode::INVALID_ARGUMENT, "response_format"},
      {"a schema without an end",
       [](auto& r) { r.mutable_response_format()->set_json_object(true), r.mutable_stopping()->set_ignore_eos(true); },
       StatusCode::INVALID_ARGUMENT, "stopping.ignore_eos"},
      {"1,025 biases",
       [](auto& r) {
         for (int i = 0; i < 1025; ++i) (*r.mutable_sampling()->mutable_logit_bias())[i] = 1;
       },
       StatusCode::INVALID_ARGUMENT, "sampling.logit_bias"},
      {"65,537 allowed ids",
       [](auto& r) {
         for (int i = 0; i < 65537; ++i) r.mutable_sampling()->add_allowed_token_ids(i);
       },
       StatusCode::INVALID_ARGUMENT, "sampling.allowed_token_ids"},
      {"17 stop tokens",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) r.mutable_stopping()->add_stop_token_ids(i);
       },
       StatusCode::INVALID_ARGUMENT, "stopping.stop_token_ids"},
      {"unknown session", [](auto& r) { r.set_session_id("0123456789abcdef0123456789abcdef"); }, StatusCode::NOT_FOUND,
       "session"},
      {"a session id that is none", [](auto& r) { r.set_session_id("../../etc/passwd"); }, StatusCode::NOT_FOUND,
       "session"},
      {"turn_id of a one-shot", [](auto& r) { r.set_turn_id("x"); }, StatusCode::INVALID_ARGUMENT, "turn_id"},
      {"turn_id of 65 characters", [](auto& r) { r.set_session_id("x"), r.set_turn_id(std::string(65, 'x')); },
       StatusCode::INVALID_ARGUMENT, "turn_id"},
      {"turn_id of two lines", [](auto& r) { r.set_session_id("x"), r.set_turn_id("a\nb"); },
       StatusCode::INVALID_ARGUMENT, "turn_id"},
      {"turn_id that is no ASCII", [](auto& r) { r.set_session_id("x"), r.set_turn_id("é"); },
       StatusCode::INVALID_ARGUMENT, "turn_id"},
      {"on_cancel of a one-shot", [](auto& r) { r.set_on_cancel(v1::ON_CANCEL_KEEP); }, StatusCode::INVALID_ARGUMENT,
       "on_cancel"},
      {"on_cancel 4", [](auto& r) { r.set_session_id("x"), r.set_on_cancel(static_cast<v1::OnCancel>(4)); },
       StatusCode::INVALID_ARGUMENT, "on_cancel"},
      {"on_cancel -1", [](auto& r) { r.set_session_id("x"), r.set_on_cancel(static_cast<v1::OnCancel>(-1)); },
       StatusCode::INVALID_ARGUMENT, "on_cancel"},
      {"durability of a one-shot", [](auto& r) { r.set_durability(v1::DURABILITY_NONE); }, StatusCode::INVALID_ARGUMENT,
       "durability"},
      {"durability 4", [](auto& r) { r.set_session_id("x"), r.set_durability(static_cast<v1::Durability>(4)); },
       StatusCode::INVALID_ARGUMENT, "durability"},
      {"expected_position of a one-shot", [](auto& r) { r.set_expected_position(7); }, StatusCode::INVALID_ARGUMENT,
       "expected_position"},
      {"prompt over the limit", [](auto& r) { r.mutable_prompt()->set_text(std::string(2000, 'a')); },
       StatusCode::INVALID_ARGUMENT, "max_prompt_bytes"},
      {"message over the limit", [](auto& r) { r.mutable_prompt()->set_text(std::string(17 << 20, 'a')); },
       StatusCode::RESOURCE_EXHAUSTED, "message"},
  };
  return rows;
}

class BadRequestTest : public ::testing::Test {
 protected:
  BadRequestTest() : server_({"--max-prompt-bytes", "1000"}) {
    v1::Session session;
    EXPECT_TRUE(server_.client().CreateSession({}, &session).ok());
    witness_ = session.session_id();
    EXPECT_TRUE(server_.client().CreateSession({}, &session).ok());
    EXPECT_EQ(Talk(witness_, {40, 50, 60}), Talk(session.session_id(), {40, 50, 60}));
    twin_ = session.session_id();
  }
  // The witness and its twin, which heard the same, still say the same.
  void ExpectUndisturbed() { EXPECT_EQ(Talk(witness_, {70, 80}), Talk(twin_, {70, 80})); }
  std::vector<int32_t> Talk(const std::string& session, const std::vector<int32_t>& ids) {
    const Reply reply = Generate(server_.client(), GreedyTurn(session, ids, 10));
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    return reply.ids;
  }
  void Expect(const grpc::Status& status, StatusCode code, const std::string& names) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), ::testing::HasSubstr(names));
    EXPECT_EQ(status.error_message().find('\n'), std::string::npos);
  }

  TinyServer server_;
  std::string witness_, twin_;
};

TEST_F(BadRequestTest, Generate) {
  for (const Row& row : Rows()) {
    SCOPED_TRACE(row.name);
    v1::GenerateRequest request = GreedyTurn("", {40, 41}, 4);
    row.spoil(request);
    Expect(Generate(server_.client(), request).status, row.code, row.names);
  }
  ExpectUndisturbed();
}

TEST_F(BadRequestTest, SessionsAndText) {
  client::Client& client = server_.client();
  v1::Session session;
  v1::CreateSessionRequest create;
  create.set_label("no spaces");
  Expect(client.CreateSession(create, &session), StatusCode::INVALID_ARGUMENT, "label");
  create.set_label(std::string(65, 'a'));
  Expect(client.CreateSession(create, &session), StatusCode::INVALID_ARGUMENT, "label");
  Expect(client.GetSession("", &session), StatusCode::INVALID_ARGUMENT, "session_id");
  Expect(client.GetSession("ffffffffffffffffffffffffffffffff", &session), StatusCode::NOT_FOUND, "session");
  Expect(client.DeleteSession("x"), StatusCode::NOT_FOUND, "session");
  v1::ListSessionsRequest list;
  v1::ListSessionsResponse sessions;
  list.set_page_size(0);
  Expect(client.ListSessions(list, &sessions), StatusCode::INVALID_ARGUMENT, "page_size");
  list.set_page_size(1001);
  Expect(client.ListSessions(list, &sessions), StatusCode::INVALID_ARGUMENT, "page_size");
  list.set_page_size(10);
  list.set_page_token("made up");
  Expect(client.ListSessions(list, &sessions), StatusCode::INVALID_ARGUMENT, "page_token");

  const auto fork = [&](const std::string& id, const std::string& label, int64_t position) {
    v1::ForkSessionRequest request;
    request.set_session_id(id);
    request.set_label(label);
    request.set_expected_position(position);
    return client.ForkSession(request, &session);
  };
  Expect(fork("", "", 0), StatusCode::INVALID_ARGUMENT, "session_id");
  Expect(fork("nobody", "", 0), StatusCode::NOT_FOUND, "session");
  Expect(fork(witness_, "no spaces", 0), StatusCode::INVALID_ARGUMENT, "label");
  Expect(fork(witness_, "", -1), StatusCode::INVALID_ARGUMENT, "expected_position");
  Expect(fork(witness_, "", 1'000'000), StatusCode::FAILED_PRECONDITION, "position");

  const auto inspect = [&](const std::string& id, int layer, int head) {
    v1::InspectSessionRequest request;
    request.set_session_id(id);
    request.add_layers(layer);
    request.add_kv_heads(head);
    return client.InspectSession(request)->Finish();
  };
  Expect(inspect(witness_, 2, 0), StatusCode::INVALID_ARGUMENT, "layers");
  Expect(inspect(witness_, -1, 0), StatusCode::INVALID_ARGUMENT, "layers");
  Expect(inspect(witness_, 0, 2), StatusCode::INVALID_ARGUMENT, "kv_heads");
  Expect(inspect("nobody", 0, 0), StatusCode::NOT_FOUND, "session");

  v1::ScoreRequest score;
  Expect(client.Score(score)->Finish(), StatusCode::INVALID_ARGUMENT, "prompt");
  score.mutable_prompt()->mutable_token_ids()->add_ids(5);
  Expect(client.Score(score)->Finish(), StatusCode::INVALID_ARGUMENT, "prompt");
  score.mutable_prompt()->mutable_token_ids()->add_ids(5000);
  Expect(client.Score(score)->Finish(), StatusCode::INVALID_ARGUMENT, "token_ids");

  v1::DetokenizeRequest detokenize;
  v1::DetokenizeResponse text;
  detokenize.add_token_ids(-5);
  Expect(client.Detokenize(detokenize, &text), StatusCode::INVALID_ARGUMENT, "token_ids");
  v1::GenerateRequest wrong_position = GreedyTurn(witness_, {50}, 1);
  wrong_position.set_expected_position(1);
  Expect(Generate(client, wrong_position).status, StatusCode::FAILED_PRECONDITION, "13");  // 3 fed, 10 sampled
  ExpectUndisturbed();
}

TEST_F(BadRequestTest, SessionsThatLast) {
  client::Client& client = server_.client();
  v1::Session session;
  v1::CreateSessionRequest create;
  create.set_durability(static_cast<v1::Durability>(4));
  Expect(client.CreateSession(create, &session), StatusCode::INVALID_ARGUMENT, "durability");
  create.set_durability(v1::DURABILITY_JOURNAL);
  Expect(client.CreateSession(create, &session), StatusCode::FAILED_PRECONDITION, "--data-dir");
  create.set_durability(v1::DURABILITY_IMAGE);
  Expect(client.CreateSession(create, &session), StatusCode::FAILED_PRECONDITION, "--data-dir");

  const auto park = [&](const std::string& id, int target) {
    v1::ParkSessionRequest request;
    request.set_session_id(id);
    request.set_target(static_cast<v1::ParkTarget>(target));
    return client.ParkSession(request, &session);
  };
  Expect(park("", 0), StatusCode::INVALID_ARGUMENT, "session_id");
  Expect(park("nobody", 0), StatusCode::NOT_FOUND, "session");
  Expect(park(witness_, 3), StatusCode::INVALID_ARGUMENT, "target");
  Expect(park(witness_, -1), StatusCode::INVALID_ARGUMENT, "target");
  for (const int target : {0, 1, 2}) EXPECT_EQ(park(witness_, target).error_code(), StatusCode::FAILED_PRECONDITION);

  const auto rewind = [&](const std::string& id, const std::function<void(v1::RewindSessionRequest&)>& spoil) {
    v1::RewindSessionRequest request;
    request.set_session_id(id);
    spoil(request);
    return client.RewindSession(request, &session);
  };
  Expect(rewind("", [](auto&) {}), StatusCode::INVALID_ARGUMENT, "session_id");
  Expect(rewind("nobody", [](auto&) {}), StatusCode::NOT_FOUND, "session");
  Expect(rewind(witness_, [](auto& r) { r.set_take_back(0); }), StatusCode::INVALID_ARGUMENT, "take_back");
  Expect(rewind(witness_, [](auto& r) { r.set_take_back(-1); }), StatusCode::INVALID_ARGUMENT, "take_back");
  Expect(rewind(witness_, [](auto& r) { r.set_take_back(1'000'000); }), StatusCode::INVALID_ARGUMENT, "take_back");
  Expect(rewind(witness_, [](auto& r) { r.set_to_turn(-1); }), StatusCode::INVALID_ARGUMENT, "to_turn");
  Expect(rewind(witness_, [](auto& r) { r.set_to_turn(1'000'000); }), StatusCode::INVALID_ARGUMENT, "to_turn");
  Expect(rewind(witness_, [](auto& r) { r.set_to_turn(0), r.set_take_back(1); }), StatusCode::INVALID_ARGUMENT,
         "take_back");
  Expect(rewind(witness_, [](auto& r) { r.set_expected_position(-1); }), StatusCode::INVALID_ARGUMENT,
         "expected_position");
  Expect(rewind(witness_, [](auto& r) { r.set_expected_position(1'000'000); }), StatusCode::FAILED_PRECONDITION, "13");

  const auto resume = [&](const std::string& id, int64_t from_seq) {
    v1::ResumeTurnRequest request;
    request.set_session_id(id);
    request.set_from_seq(from_seq);
    return client.ResumeTurn(request)->Finish();
  };
  Expect(resume("", 0), StatusCode::INVALID_ARGUMENT, "session_id");
  Expect(resume("nobody", 0), StatusCode::NOT_FOUND, "session");
  Expect(resume(witness_, -1), StatusCode::INVALID_ARGUMENT, "from_seq");
  Expect(resume(witness_, 11), StatusCode::INVALID_ARGUMENT, "from_seq");  // 10 were sampled
  create.clear_durability();
  ASSERT_TRUE(client.CreateSession(create, &session).ok());
  Expect(resume(session.session_id(), 0), StatusCode::NOT_FOUND, "turn");

  v1::ScoreRequest score;
  score.set_session_id(witness_);
  score.mutable_prompt()->mutable_token_ids()->add_ids(5);
  score.set_on_cancel(v1::ON_CANCEL_CONTINUE);
  Expect(client.Score(score)->Finish(), StatusCode::INVALID_ARGUMENT, "on_cancel");
  score.set_on_cancel(static_cast<v1::OnCancel>(9));
  Expect(client.Score(score)->Finish(), StatusCode::INVALID_ARGUMENT, "on_cancel");
  score.clear_on_cancel();
  score.set_durability(static_cast<v1::Durability>(9));
  Expect(client.Score(score)->Finish(), StatusCode::INVALID_ARGUMENT, "durability");
  score.clear_durability();
  ExpectUndisturbed();
}

// Without a data folder there is no key: neither exports nor imports. With one, garbage is garbage.
TEST_F(BadRequestTest, ExportsAndImports) {
  const auto export_of = [](client::Client& client, const std::string& id, bool with_history) {
    v1::ExportSessionRequest request;
    request.set_session_id(id);
    request.set_with_history(with_history);
    return client.ExportSession(request)->Finish();
  };
  const auto import_of = [](client::Client& client, const v1::ImportOptions& options, const std::string& bytes) {
    v1::Session session;
    const auto import = client.ImportSession(options);
    for (size_t at = 0; at < bytes.size() && import->Send(bytes.substr(at, 1 << 20)); at += 1 << 20) {
    }
    return import->Finish(&session);
  };
  v1::ImportOptions options;
  Expect(export_of(server_.client(), "", false), StatusCode::INVALID_ARGUMENT, "session_id");
  Expect(export_of(server_.client(), witness_, false), StatusCode::FAILED_PRECONDITION, "--data-dir");
  Expect(import_of(server_.client(), options, "garbage"), StatusCode::FAILED_PRECONDITION, "--data-dir");
  ExpectUndisturbed();

  const std::string folder =
      (std::filesystem::temp_directory_path() / "bad_request_test_").string() + std::to_string(getpid());
  {
    TinyServer durable({"--data-dir", folder});
    Expect(export_of(durable.client(), "", false), StatusCode::INVALID_ARGUMENT, "session_id");
    Expect(export_of(durable.client(), "nobody", true), StatusCode::NOT_FOUND, "session");
    Expect(import_of(durable.client(), options, ""), StatusCode::DATA_LOSS, "");
    Expect(import_of(durable.client(), options, "garbage"), StatusCode::DATA_LOSS, "");
    Expect(import_of(durable.client(), options, std::string(3 << 20, 'x')), StatusCode::DATA_LOSS, "");
    options.set_label("no spaces");
    Expect(import_of(durable.client(), options, "x"), StatusCode::INVALID_ARGUMENT, "options.label");
    options.clear_label();
    options.set_durability(static_cast<v1::Durability>(4));
    Expect(import_of(durable.client(), options, "x"), StatusCode::INVALID_ARGUMENT, "options.durability");
    v1::ListSessionsResponse sessions;
    EXPECT_TRUE(durable.client().ListSessions({}, &sessions).ok());
    EXPECT_EQ(sessions.sessions_size(), 0);
  }
  std::filesystem::remove_all(folder);
}

TEST_F(BadRequestTest, ABusySessionIsAborted) {
  client::Client& client = server_.client();
  v1::Session session;
  ASSERT_TRUE(client.CreateSession({}, &session).ok());
  v1::GenerateRequest endless = GreedyTurn(session.session_id(), {40}, 1'000'000);
  endless.mutable_sampling()->set_temperature(2);
  endless.mutable_sampling()->set_seed(3);
  // The tiny model may end by itself; so try until a second turn has met a running one.
  bool met = false;
  for (int attempt = 0; attempt < 50 && !met; ++attempt) {
    endless.mutable_sampling()->set_seed(static_cast<uint64_t>(attempt));
    auto running = client.Generate(endless);
    v1::GenerateResponse response;
    ASSERT_TRUE(running->Next(&response));
    const grpc::Status second = Generate(client, GreedyTurn(session.session_id(), {41}, 1)).status;
    met = second.error_code() == StatusCode::ABORTED;
    if (!met) {
      EXPECT_TRUE(second.ok()) << second.error_message();
    }
    running->Cancel();
    running->Finish();
    for (int i = 0; i < 1000; ++i) {  // its end reaches the session within two steps
      ASSERT_TRUE(client.GetSession(session.session_id(), &session).ok());
      if (session.state() == v1::SESSION_STATE_RESIDENT) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  EXPECT_TRUE(met);
  ExpectUndisturbed();
}

TEST_F(BadRequestTest, AFullPoolIsExhausted) {
  TinyServer small({"--max-num-sessions", "2"});
  v1::Session session;
  ASSERT_TRUE(small.client().CreateSession({}, &session).ok());
  ASSERT_TRUE(small.client().CreateSession({}, &session).ok());
  Expect(small.client().CreateSession({}, &session), StatusCode::RESOURCE_EXHAUSTED, "session");
  // One slot stays for one-shot requests.
  EXPECT_TRUE(Generate(small.client(), GreedyTurn("", {40}, 2)).status.ok());
  ASSERT_TRUE(small.client().DeleteSession(session.session_id()).ok());
  EXPECT_TRUE(small.client().CreateSession({}, &session).ok());
}

}  // namespace
}  // namespace cascade::test
