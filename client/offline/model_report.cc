#include "client/offline/model_report.h"

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/format.h"
#include "client/table.h"
#include "client/utf8.h"
#include "engine/base/clock.h"
#include "engine/model/llama.h"
#include "engine/text/chat_template.h"
#include "engine/text/vocabulary.h"
#include "kernels/cpu_backend.h"

namespace cascade::client {
namespace {

// Fit for one cell of a table: a stranger's text must not look like another row.
std::string Cell(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

std::string MessageOf(const absl::Status& status) { return {status.message().data(), status.message().size()}; }

std::string KindOf(const Vocabulary& vocabulary) {
  switch (vocabulary.kind) {
    case TokenizerKind::kByteBpe:
      return "byte-level BPE, pre-tokenizer " +
             (vocabulary.pre_tokenizer.empty() ? std::string("gpt2") : vocabulary.pre_tokenizer);
    case TokenizerKind::kCharacterBpe:
      return "BPE with byte fallback";
    case TokenizerKind::kSentencePiece:
      return vocabulary.sentencepiece_model.empty() ? "SentencePiece (pieces and scores)" : "SentencePiece";
  }
  return "";
}

std::string TextsOf(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string texts;
  for (const int32_t id : ids) {
    if (!texts.empty()) texts += ", ";
    texts += tokenizer.TokenText(id);
  }
  return texts;
}

void ReportText(const ModelSource& source, ModelReport& report) {
  Vocabulary vocabulary = source.vocabulary();
  report.tokenizer.text = KindOf(vocabulary);
  const auto tokenizer = CreateTokenizer(std::move(vocabulary));
  if (!tokenizer.ok()) {
    report.tokenizer.error = MessageOf(tokenizer.status());
    report.chat_template.text = source.chat_template().empty() ? "none" : "the model's own";
    return;
  }
  report.end_tokens = TextsOf(**tokenizer, (*tokenizer)->end_ids());
  report.start_tokens = TextsOf(**tokenizer, (*tokenizer)->start_ids());
  if (source.chat_template().empty()) {
    report.chat_template.text = "none (give the server --chat-template to chat)";
    return;
  }
  report.chat_template.text = "the model's own";
  const auto chat_template = CreateChatTemplate(source.chat_template(), **tokenizer, Clock::Real());
  if (!chat_template.ok()) {
    report.chat_template.error = MessageOf(chat_template.status());
  } else if (!(*chat_template)->sessions().ok()) {
    report.chat_template.text += "; for one-shot requests only: " + MessageOf((*chat_template)->sessions());
  } else {
    report.chat_template.text += "; for sessions as well";
  }
}

void ReportCache(const GeometryOptions& options, ModelReport& report) {
  const absl::StatusOr<CascadeGeometry> geometry = MakeModelGeometry(options, report.config);
  if (!geometry.ok()) {
    report.cache.error = MessageOf(geometry.status());
    return;
  }
  report.cache.text = geometry->ToString();
  // The layout is the back end's; one without threads tells it without touching memory.
  kernels::CpuOptions cpu;
  cpu.num_threads = 1;
  const auto backend = kernels::CreateCpuBackend(cpu);
  if (!backend.ok()) {
    report.cache.error = MessageOf(backend.status());
    return;
  }
  const kernels::DType type = report.kv_cache_dtype == "float32" ? kernels::DType::kF32 : kernels::DType::kF16;
  report.session_bytes =
      static_cast<int64_t>((*backend)->CacheBytesPerSlot(MakeCacheShape(report.config, *geometry, type)));
}

void CountTypes(ModelReport& report) {
  std::map<std::string, TypeTotal> totals;
  for (const TensorSummary& tensor : report.tensors) {
    TypeTotal& total = totals[std::string(kernels::Name(tensor.type))];
    ++total.tensors;
    total.bytes += tensor.bytes;
  }
  for (auto& [type, total] : totals) {
    total.type = type;
    report.types.push_back(total);
  }
  std::sort(report.types.begin(), report.types.end(),
            [](const TypeTotal& a, const TypeTotal& b) { return a.bytes > b.bytes; });
}

std::string ShapeOf(const TensorSummary& tensor) {
  std::string text = "[";
  for (const int64_t extent : tensor.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

// A part, and on a line of its own what is wrong with it.
void AddPart(Table& table, const std::string& name, const Part& part) {
  if (!part.text.empty()) table.AddRow({name, Cell(part.text)});
  if (!part.error.empty()) table.AddRow({part.text.empty() ? name : "", Cell("not usable: " + part.error)});
}

}  // namespace

absl::StatusOr<ModelReport> ReportModel(const std::string& path, const GeometryOptions& geometry,
                                        const std::string& kv_cache_dtype) {
  const auto source = OpenModel(path);
  if (!source.ok()) return source.status();
  ModelReport report;
  report.config = (*source)->config();
  report.path = path;
  report.format = (*source)->format();
  report.tensors = (*source)->Tensors();
  report.kv_cache_dtype = kv_cache_dtype;
  CountTypes(report);
  ReportText(**source, report);
  ReportCache(geometry, report);
  return report;
}

std::string ToText(const ModelReport& report, bool list_tensors) {
  const ModelConfig& config = report.config;
  Table table({Align::kLeft, Align::kLeft});
  table.AddRow({"model", config.name.empty() ? "(no name)" : config.name});
  table.AddRow({"files", Cell(report.path + " (" + report.format + ")")});
  table.AddRow({"architecture", config.architecture + ": " + WithCommas(config.num_layers) + " layers, hidden " +
                                    WithCommas(config.hidden) + ", " + WithCommas(config.num_heads) + " heads of " +
                                    WithCommas(config.head_dim) + " (" + WithCommas(config.num_kv_heads) +
                                    " for keys and values), feed-forward " + WithCommas(config.ffn) +
                                    (config.qkv_bias ? ", biases on q, k, v" : "") +
                                    (config.tied_output ? ", tied output" : "")});
  std::string positions = WithCommas(config.max_positions) + ", RoPE base " + Fixed(config.rope_theta, 0) +
                          ", scaling " + config.rope_scaling;
  if (config.window > 0) positions += ", limited by its attention window of " + WithCommas(config.window);
  table.AddRow({"positions", positions});
  table.AddRow({"weights", WithCommas(config.parameters) + " parameters, " + Bytes(config.weight_bytes)});
  for (const TypeTotal& total : report.types) {
    table.AddRow({"", total.type + ": " + WithCommas(total.tensors) + " tensors, " + Bytes(total.bytes)});
  }
  AddPart(table, "tokenizer", report.tokenizer);
  table.AddRow({"", Cell(WithCommas(config.vocabulary) + " ids" +
                         (report.start_tokens.empty() ? "" : "; a text begins with " + report.start_tokens) +
                         (report.end_tokens.empty() ? "" : "; a reply ends with " + report.end_tokens))});
  AddPart(table, "chat template", report.chat_template);
  AddPart(table, "cache", report.cache);
  if (report.session_bytes > 0) {
    table.AddRow({"session", Bytes(report.session_bytes) + " with " + report.kv_cache_dtype + " keys and values; " +
                                 WithCommas((int64_t{1} << 30) / report.session_bytes) + " in each GiB"});
  }
  std::string text = table.Draw();
  if (list_tensors) {
    Table list({Align::kLeft, Align::kLeft, Align::kLeft, Align::kRight});
    for (const TensorSummary& tensor : report.tensors) {
      list.AddRow({Cell(tensor.name), std::string(kernels::Name(tensor.type)), ShapeOf(tensor), Bytes(tensor.bytes)});
    }
    text += "\n" + list.Draw();
  }
  return WithoutControls(text);
}

std::string ToJson(const ModelReport& report, bool list_tensors) {
  const ModelConfig& config = report.config;
  nlohmann::ordered_json json = {{"name", config.name},
                                 {"path", report.path},
                                 {"format", report.format},
                                 {"architecture", config.architecture},
                                 {"layers", config.num_layers},
                                 {"hidden", config.hidden},
                                 {"heads", config.num_heads},
                                 {"kv_heads", config.num_kv_heads},
                                 {"head_dim", config.head_dim},
                                 {"feed_forward", config.ffn},
                                 {"vocabulary", config.vocabulary},
                                 {"max_positions", config.max_positions},
                                 {"window", config.window},
                                 {"rope_theta", config.rope_theta},
                                 {"rope_scaling", config.rope_scaling},
                                 {"qkv_bias", config.qkv_bias},
                                 {"tied_output", config.tied_output},
                                 {"parameters", config.parameters},
                                 {"weight_bytes", config.weight_bytes}};
  for (const TypeTotal& total : report.types) {
    json["types"].push_back({{"type", total.type}, {"tensors", total.tensors}, {"bytes", total.bytes}});
  }
  const auto part = [](const Part& p) {
    nlohmann::ordered_json object = {{"text", p.text}};
    if (!p.error.empty()) object["error"] = p.error;
    return object;
  };
  json["tokenizer"] = part(report.tokenizer);
  json["start_tokens"] = report.start_tokens;
  json["end_tokens"] = report.end_tokens;
  json["chat_template"] = part(report.chat_template);
  json["cache"] = part(report.cache);
  json["kv_cache_dtype"] = report.kv_cache_dtype;
  json["session_bytes"] = report.session_bytes;
  json["usable"] = report.usable();
  if (list_tensors) {
    for (const TensorSummary& tensor : report.tensors) {
      json["tensors"].push_back({{"name", tensor.name},
                                 {"type", std::string(kernels::Name(tensor.type))},
                                 {"shape", tensor.shape},
                                 {"bytes", tensor.bytes}});
    }
  }
  // A file may hold any bytes as a name.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace cascade::client
