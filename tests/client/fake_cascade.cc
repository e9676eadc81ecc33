#include "tests/client/fake_cascade.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

namespace cascade::client {
namespace {

std::string LastText(const v1::Prompt& prompt) {
  if (prompt.has_text()) return prompt.text();
  if (prompt.has_messages()) return prompt.messages().messages(prompt.messages().messages_size() - 1).content();
  return std::string(prompt.token_ids().ids().begin(), prompt.token_ids().ids().end());
}

void SetUsage(int64_t prompt_tokens, int64_t sampled, int64_t position, v1::Usage* usage) {
  usage->set_prompt_tokens(prompt_tokens);
  usage->set_completion_tokens(sampled);
  usage->set_position(position);
  usage->set_session_tokens_seen(position);
  usage->set_tokens_resident(position);
  usage->set_cache_bytes(3 << 20);
  usage->mutable_decode_time()->set_seconds(1);
}

// Every token has probability 1/2.
void AddLogprobs(int id, int count, v1::TokenLogprobs* logprobs) {
  logprobs->set_token_id(id);
  logprobs->set_logprob(std::log(0.5f));
  for (int i = 0; i < count; ++i) {
    logprobs->add_top()->set_token_id(id + i);
    logprobs->mutable_top(i)->set_logprob(std::log(0.5f));
  }
}

}  // namespace

FakeCascade::FakeCascade() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeCascade::~FakeCascade() { server_->Shutdown(std::chrono::system_clock::now()); }

void FakeCascade::FailGenerate(grpc::Status status) {
  std::lock_guard lock(mutex_);
  generate_status_ = std::move(status);
}

void FakeCascade::SetReply(std::string text) {
  std::lock_guard lock(mutex_);
  reply_ = std::move(text);
}

std::vector<v1::GenerateRequest> FakeCascade::generate_requests() const {
  std::lock_guard lock(mutex_);
  return generate_requests_;
}

std::vector<v1::ScoreRequest> FakeCascade::score_requests() const {
  std::lock_guard lock(mutex_);
  return score_requests_;
}

std::vector<std::string> FakeCascade::session_ids() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, session] : sessions_) ids.push_back(id);
  return ids;
}

std::string FakeCascade::session_metadata() const {
  std::lock_guard lock(mutex_);
  return session_metadata_;
}

v1::Session& FakeCascade::AddSession(const std::string& id) {
  std::lock_guard lock(mutex_);
  v1::Session& session = sessions_[id];
  session.set_session_id(id);
  session.set_state(v1::SESSION_STATE_RESIDENT);
  session.mutable_geometry()->set_num_sinks(1);
  session.mutable_geometry()->add_sub_cache_tokens(4);
  session.mutable_geometry()->add_sub_cache_tokens(4);
  session.mutable_geometry()->set_stride(2);
  session.set_cache_bytes(3 << 20);
  return session;
}

grpc::Status FakeCascade::Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                   grpc::ServerWriter<v1::GenerateResponse>* writer) {
  std::string reply;
  {
    std::lock_guard lock(mutex_);
    generate_requests_.push_back(*request);
    const auto metadata = context->client_metadata().find("cascade-session-id");
    if (metadata != context->client_metadata().end()) {
      session_metadata_.assign(metadata->second.data(), metadata->second.size());
    }
    if (!generate_status_.ok()) return generate_status_;
    if (!request->session_id().empty() && !sessions_.contains(request->session_id())) return NotFound();
    reply = reply_.empty() ? "echo: " + LastText(request->prompt()) : reply_;
  }
  if (busy_turns_ > 0) {
    --busy_turns_;
    return {grpc::StatusCode::ABORTED, "the session is busy"};
  }
  v1::GenerateResponse part;
  int64_t sampled = 0;
  do {
    for (size_t i = 0; i < reply.size(); ++i) {
      if (context->IsCancelled()) {
        ++cancelled_replies_;
        return grpc::Status::CANCELLED;
      }
      // Whole characters only: the bytes that go on in one go with it.
      std::string character(1, reply[i]);
      while (i + 1 < reply.size() && (reply[i + 1] & 0xC0) == 0x80) character += reply[++i];
      ++sampled;
      for (int index = 0; index < std::max(1, request->n()); ++index) {
        part.set_index(index);
        part.set_text(character);
        part.add_token_ids(reply[i]);
        if (request->has_logprobs()) AddLogprobs(reply[i], request->logprobs(), part.add_logprobs());
        writer->Write(part);
        part.Clear();
      }
      if (forever_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  } while (forever_);
  std::lock_guard lock(mutex_);
  const int64_t fed = static_cast<int64_t>(LastText(request->prompt()).size());
  int64_t position = fed + sampled;
  if (const auto found = sessions_.find(request->session_id()); found != sessions_.end()) {
    position += found->second.position();
    found->second.set_position(position);
    found->second.set_turns(found->second.turns() + 1);
  }
  for (int index = 0; index < std::max(1, request->n()); ++index) {
    part.set_index(index);
    part.set_finish_reason(v1::FINISH_REASON_STOP);
    SetUsage(fed, sampled, position, part.mutable_usage());
    writer->Write(part);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCascade::Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                                grpc::ServerWriter<v1::ScoreResponse>* writer) {
  {
    std::lock_guard lock(mutex_);
    score_requests_.push_back(*request);
  }
  // Every token has probability 1/2, in messages of three.
  const std::string text = LastText(request->prompt());
  if (text.size() < 2) return {grpc::StatusCode::INVALID_ARGUMENT, "prompt: at least two tokens"};
  for (size_t begin = 1; begin < text.size(); begin += 3) {
    v1::ScoreResponse part;
    for (size_t i = begin; i < std::min(begin + 3, text.size()); ++i) {
      part.add_token_ids(text[i]);
      part.add_logprobs(-std::log(2.0f));
      part.add_top_ids(text[i]);
      part.add_top_margins(0.5f);
    }
    part.set_tokens_total(static_cast<int64_t>(text.size()) - 1);
    if (begin + 3 >= text.size()) SetUsage(text.size(), 0, text.size(), part.mutable_usage());
    writer->Write(part);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCascade::InspectSession(grpc::ServerContext* context, const v1::InspectSessionRequest* request,
                                         grpc::ServerWriter<v1::InspectSessionResponse>* writer) {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) return NotFound();
  // Two layers of one head: a sink, every other of 32..39, all of 40..43, and 44 open.
  for (int layer = 0; layer < 2; ++layer) {
    if (request->layers_size() > 0 && request->layers(0) != layer) continue;
    v1::InspectSessionResponse head;
    head.set_layer(layer);
    head.set_position(45);
    const auto add = [&](int64_t token, int sub_cache) {
      head.add_token_indices(token);
      head.add_sub_caches(sub_cache);
    };
    add(0, -1);
    for (int64_t token = 32; token < 40; token += 2) add(token, 1);
    for (int64_t token = 40; token < 44; ++token) add(token, 0);
    add(44, 2);
    writer->Write(head);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCascade::Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                                   v1::TokenizeResponse* response) {
  for (const unsigned char byte : request->text()) response->add_token_ids(byte);
  return grpc::Status::OK;
}

grpc::Status FakeCascade::Detokenize(grpc::ServerContext* context, const v1::DetokenizeRequest* request,
                                     v1::DetokenizeResponse* response) {
  for (const int32_t id : request->token_ids()) {
    if (id < 0 || id > 127) return {grpc::StatusCode::INVALID_ARGUMENT, "token_ids: outside the vocabulary"};
    *response->mutable_text() += static_cast<char>(id);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCascade::GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                                        v1::ServerInfo* info) {
  info->set_version("9.9");
  info->set_model("fake-model");
  info->set_device("cpu");
  info->set_max_prompt_bytes(1000);
  return grpc::Status::OK;
}

}  // namespace cascade::client
