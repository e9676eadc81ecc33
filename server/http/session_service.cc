#include "server/http/session_service.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/http/json_fields.h"
#include "server/http/openai_error.h"
#include "server/http/openai_request.h"
#include "server/http/openai_service.h"

namespace cascade {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int kMaxPageSize = 1000;
constexpr int kDefaultPageSize = 100;
constexpr int kMaxBuckets = 1024;
constexpr int kDefaultBuckets = 256;
constexpr int kPictureLayers = 4;  // and as many heads: enough for a picture, cheap to read

double Seconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

const char* Name(SessionState state) {
  switch (state) {
    case SessionState::kResident:
      return "resident";
    case SessionState::kParkedHost:
      return "parked_host";
    case SessionState::kParkedDisk:
      return "parked_disk";
    case SessionState::kBusy:
      return "busy";
  }
  return "";
}

Json GeometryJson(const CascadeGeometry& geometry) {
  return {{"sinks", geometry.num_sinks},
          {"sub_cache_tokens", geometry.sub_cache_tokens},
          {"stride", geometry.stride},
          {"selection_group", geometry.selection_group}};
}

Json SessionJson(const SessionInfo& session, const EngineOptions& options) {
  Json json = {{"id", session.id},
               {"object", "session"},
               {"label", session.label},
               {"state", Name(session.state)},
               {"position", session.position},
               {"tokens_resident", session.tokens_resident},
               {"tokens_evicted", session.tokens_evicted},
               {"turns", session.turns},
               {"created", Seconds(session.created)},
               {"last_used", Seconds(session.last_used)},
               {"expires", nullptr},
               {"cache_bytes", options.cache_bytes_per_slot},
               {"durability", DurabilityName(session.durability)},
               {"digest", absl::StrCat(absl::Hex(session.digest, absl::kZeroPad16))},
               {"journal_bytes", session.journal_bytes},
               {"geometry", GeometryJson(options.geometry)}};
  if (session.expires.has_value()) json["expires"] = Seconds(*session.expires);
  return json;
}

absl::StatusOr<Json> ToJson(const absl::StatusOr<SessionInfo>& session, const EngineOptions& options) {
  if (!session.ok()) return session.status();
  return SessionJson(*session, options);
}

// The body, which may be left out.
absl::StatusOr<Json> Body(const HttpRequest& request) {
  return request.body.empty() ? Json::object() : ParseJsonObject(request.body);
}

using Gone = std::shared_ptr<std::atomic<bool>>;

// Becomes true when the client leaves. I/O thread.
Gone WatchClient(HttpExchange& exchange) {
  auto gone = std::make_shared<std::atomic<bool>>(false);
  exchange.NotifyWhenGone([gone] { *gone = true; });
  return gone;
}

// A session that nobody waits for any more would keep its place, and nobody would know its id.
absl::StatusOr<Json> NewSessionJson(Engine& engine, const absl::StatusOr<SessionInfo>& session, const Gone& gone) {
  if (!session.ok() || !*gone) return ToJson(session, engine.options());
  engine.DeleteSession(session->id).IgnoreError();
  return absl::CancelledError("the client went away");
}

absl::StatusOr<Json> Create(Engine& engine, const HttpRequest& request, const Gone& gone) {
  const absl::StatusOr<Json> body = Body(request);
  if (!body.ok()) return body.status();
  JsonFields fields(*body);
  const std::string label = fields.String("label").value_or("");
  const auto named = fields.String("durability");
  std::optional<Durability> durability;
  if (named.has_value()) {
    durability = DurabilityNamed(*named);
    if (!durability.has_value()) fields.Fail("durability", "must be none, journal or image");
  }
  absl::Status status = fields.Finish();
  if (status.ok()) status = ValidateLabel(label);
  if (!status.ok()) return status;
  return NewSessionJson(engine, engine.CreateSession(label, durability), gone);
}

absl::StatusOr<int> QueryInt(const std::string& query, const char* name, int most, int otherwise) {
  const absl::StatusOr<std::optional<std::string>> text = QueryValue(query, name);
  if (!text.ok()) return text.status();
  if (!text->has_value()) return otherwise;
  int value = 0;
  if (absl::SimpleAtoi(**text, &value) && value >= 1 && value <= most) return value;
  return absl::InvalidArgumentError(absl::StrCat(name, " must be an integer in [1, ", most, "]"));
}

absl::StatusOr<Json> List(Engine& engine, const HttpRequest& request) {
  const absl::StatusOr<int> page_size = QueryInt(request.query, "page_size", kMaxPageSize, kDefaultPageSize);
  if (!page_size.ok()) return page_size.status();
  const absl::StatusOr<std::optional<std::string>> page_token = QueryValue(request.query, "page_token");
  if (!page_token.ok()) return page_token.status();
  const absl::StatusOr<SessionPage> page = engine.ListSessions(*page_size, page_token->value_or(""));
  if (!page.ok()) return page.status();
  Json data = Json::array();
  for (const SessionInfo& session : page->sessions) data.push_back(SessionJson(session, engine.options()));
  return Json{{"object", "list"}, {"data", std::move(data)}, {"next_page_token", page->next_page_token}};
}

absl::StatusOr<Json> Delete(Engine& engine, const std::string& id) {
  if (absl::Status status = engine.DeleteSession(id); !status.ok()) return status;
  return Json{{"id", id}, {"object", "session.deleted"}, {"deleted", true}};
}

absl::StatusOr<Json> ForkOf(Engine& engine, const HttpRequest& request, const std::string& id, const Gone& gone) {
  const absl::StatusOr<Json> body = Body(request);
  if (!body.ok()) return body.status();
  JsonFields fields(*body);
  const std::string label = fields.String("label").value_or("");
  const auto position = fields.Int("expected_position", 0, kMost);
  absl::Status status = fields.Finish();
  if (status.ok()) status = ValidateLabel(label);
  if (!status.ok()) return status;
  return NewSessionJson(engine, engine.ForkSession(id, label, position), gone);
}

absl::StatusOr<Json> RewindOf(Engine& engine, const HttpRequest& request, const std::string& id) {
  const absl::StatusOr<Json> body = Body(request);
  if (!body.ok()) return body.status();
  JsonFields fields(*body);
  RewindRequest rewind;
  rewind.session_id = id;
  rewind.to_turn = fields.Int("to_turn", 0, kMost);
  rewind.take_back = fields.Int("take_back", 1, kMost);
  rewind.expected_position = fields.Int("expected_position", 0, kMost);
  rewind.allow_replay = fields.Bool("allow_replay").value_or(false);
  if (rewind.to_turn.has_value() && rewind.take_back.has_value()) {
    fields.Fail("take_back", "must not be set with to_turn");
  }
  if (absl::Status status = fields.Finish(); !status.ok()) return status;
  if (!rewind.to_turn.has_value() && !rewind.take_back.has_value()) rewind.take_back = 1;
  return ToJson(engine.RewindSession(rewind), engine.options());
}

// A few of `count`, spread evenly.
std::vector<int> Spread(int count) {
  std::vector<int> some;
  const int wanted = std::min(count, kPictureLayers);
  for (int i = 0; i < wanted; ++i) some.push_back(wanted == 1 ? 0 : i * (count - 1) / (wanted - 1));
  return some;
}

absl::StatusOr<Json> MemoryOf(Engine& engine, const HttpRequest& request, const std::string& id) {
  const absl::StatusOr<int> buckets = QueryInt(request.query, "buckets", kMaxBuckets, kDefaultBuckets);
  if (!buckets.ok()) return buckets.status();
  const EngineOptions& options = engine.options();
  int64_t position = 0;
  const absl::StatusOr<std::vector<HeadView>> views =
      engine.InspectSession(id, Spread(options.num_layers), Spread(options.num_kv_heads), &position);
  if (!views.ok()) return views.status();
  Json json = MemorySummary(options.geometry, position, *views, *buckets);
  json["session_id"] = id;
  return json;
}

}  // namespace

Json MemorySummary(const CascadeGeometry& geometry, int64_t position, const std::vector<HeadView>& views, int buckets) {
  const int64_t width = std::max<int64_t>(1, (position + buckets - 1) / buckets);
  const size_t count = static_cast<size_t>((position + width - 1) / width);
  const int rings = geometry.num_sub_caches();
  // By place: sinks, sub-caches, open stride.
  std::vector<std::vector<double>> held(static_cast<size_t>(rings) + 2, std::vector<double>(count, 0));
  std::vector<double> tokens(static_cast<size_t>(rings) + 2, 0);
  const double share = views.empty() ? 0 : 1.0 / static_cast<double>(views.size());
  for (const HeadView& view : views) {
    for (const HeldToken& token : view.tokens) {
      const auto place = static_cast<size_t>(token.sub_cache + 1);
      const auto bucket = static_cast<size_t>(token.token / width);
      if (place >= held.size() || token.token < 0 || bucket >= count) continue;
      held[place][bucket] += share;
      tokens[place] += share;
    }
  }
  const auto row = [&](size_t place) {
    Json shares = Json::array();
    for (const double value : held[place]) {
      // Thousandths are finer than a screen.
      shares.push_back(std::round(1000 * value / static_cast<double>(width)) / 1000);
    }
    return shares;
  };
  Json sub_caches = Json::array();
  double resident = 0;
  for (const double value : tokens) resident += value;
  for (int i = 0; i < rings; ++i) {
    const auto place = static_cast<size_t>(i) + 1;
    sub_caches.push_back({{"tokens", std::llround(tokens[place])},
                          {"capacity", geometry.sub_cache_tokens[static_cast<size_t>(i)]},
                          {"held", row(place)}});
  }
  return {{"object", "session.memory"},
          {"position", position},
          {"tokens_resident", std::llround(resident)},
          {"tokens_evicted", position - std::llround(resident)},
          {"bucket_tokens", width},
          {"heads", views.size()},
          {"sinks", {{"tokens", std::llround(tokens.front())}, {"held", row(0)}}},
          {"sub_caches", std::move(sub_caches)},
          {"open_stride", {{"tokens", std::llround(tokens.back())}, {"held", row(held.size() - 1)}}},
          {"geometry", GeometryJson(geometry)}};
}

void AddSessionRoutes(const HttpContext& context, Router& router) {
  // All of them may wait for the engine or for files.
  const auto answer = [&context](const std::shared_ptr<HttpExchange>& exchange, auto work) {
    AnswerFrom(context.waiters, exchange, std::move(work));
  };
  Engine& engine = context.engine;
  router.Add("POST", "/v1/sessions", [answer, &engine](const auto& exchange, const std::string&) {
    answer(exchange,
           [&engine, gone = WatchClient(*exchange)](HttpRequest& request) { return Create(engine, request, gone); });
  });
  router.Add("GET", "/v1/sessions", [answer, &engine](const auto& exchange, const std::string&) {
    answer(exchange, [&engine](HttpRequest& request) { return List(engine, request); });
  });
  router.Add("GET", "/v1/sessions/{id}", [answer, &engine](const auto& exchange, const std::string& id) {
    answer(exchange, [&engine, id](HttpRequest&) { return ToJson(engine.GetSession(id), engine.options()); });
  });
  router.Add("DELETE", "/v1/sessions/{id}", [answer, &engine](const auto& exchange, const std::string& id) {
    answer(exchange, [&engine, id](HttpRequest&) { return Delete(engine, id); });
  });
  router.Add("POST", "/v1/sessions/{id}/fork", [answer, &engine](const auto& exchange, const std::string& id) {
    answer(exchange, [&engine, id, gone = WatchClient(*exchange)](HttpRequest& request) {
      return ForkOf(engine, request, id, gone);
    });
  });
  router.Add("POST", "/v1/sessions/{id}/rewind", [answer, &engine](const auto& exchange, const std::string& id) {
    answer(exchange, [&engine, id](HttpRequest& request) { return RewindOf(engine, request, id); });
  });
  router.Add("GET", "/v1/sessions/{id}/memory", [answer, &engine](const auto& exchange, const std::string& id) {
    answer(exchange, [&engine, id](HttpRequest& request) { return MemoryOf(engine, request, id); });
  });
}

}  // namespace cascade
