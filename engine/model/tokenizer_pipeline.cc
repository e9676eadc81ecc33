#include "engine/model/tokenizer_pipeline.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/json_fields.h"
#include "engine/model/json_text.h"
#include "engine/model/tokenizer_added.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSpace = "\u2581";

// The two long ones are the same but for the digits.
#define CASCADE_LLAMA3_PATTERN(digits)                               \
  R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" digits \
  R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
// Patterns as published -> the pre-tokenizer's name with us. "digits" is half of smollm's.
constexpr std::pair<std::string_view, std::string_view> kPatterns[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", "gpt2"},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", "gpt2"},
    {CASCADE_LLAMA3_PATTERN(R"(\p{N}{1,3})"), "llama-bpe"},
    {CASCADE_LLAMA3_PATTERN(R"(\p{N})"), "qwen2"},
    {R"(\p{N})", "digits"},
};
#undef CASCADE_LLAMA3_PATTERN

// One step of a sequence: its fields and its type.
struct Step {
  JsonFields fields;
  std::string type;
};

// The steps under `key`, sequences within sequences laid out flat; `list` is the key of a sequence's steps.
class Steps {
 public:
  Steps(const Json& root, const std::string& name, const char* key, const char* list) : list_(list) {
    JsonFields fields(root, name);
    if (const Json* value = fields.Find(key)) Add(*value, name, key);
  }
  const absl::Status& status() const { return status_; }
  std::vector<Step>& steps() { return steps_; }

 private:
  void Add(const Json& value, const std::string& name, const std::string& path) {
    if (!status_.ok()) return;
    if (!value.is_object()) {
      status_ = absl::InvalidArgumentError(
          absl::StrCat(name, ": ", path, ": found ", Description(value), ", expected an object"));
      return;
    }
    JsonFields fields(value, name, path + ".");
    const std::string type = fields.String("type");
    if (type != "Sequence") {
      status_.Update(fields.status());
      if (status_.ok()) steps_.push_back({std::move(fields), type});
      return;
    }
    const Json* list = fields.Find(list_);
    if (list == nullptr || !list->is_array()) {
      fields.Fail(list_, "missing, expected an array");
      status_.Update(fields.status());
      return;
    }
    for (size_t i = 0; i < list->size(); ++i) Add((*list)[i], name, absl::StrCat(path, ".", list_, "[", i, "]"));
  }

  const char* const list_;
  std::vector<Step> steps_;
  absl::Status status_;
};

absl::Status Refuse(Step* step, std::string_view supported) {
  step->fields.Refuse("type", "found ", QuoteForError(step->type),
                      ", which is not supported; supported: ", absl::string_view(supported.data(), supported.size()));
  return step->fields.status();
}

// {"String": ".."} or {"Regex": ".."}: the text, with `*is_regex`; nothing else is a pattern.
std::string ReadPattern(JsonFields* fields, bool* is_regex) {
  const Json* pattern = fields->Find("pattern");
  for (const char* key : {"String", "Regex"}) {
    if (pattern == nullptr || !pattern->is_object() || !pattern->contains(key)) continue;
    const std::string* text = (*pattern)[key].get_ptr<const std::string*>();
    *is_regex = std::string_view(key) == "Regex";
    if (text != nullptr) return *text;
  }
  fields->Fail("pattern", "missing, expected {\"String\": ..} or {\"Regex\": ..}");
  return "";
}

struct Normalizer {
  bool nfc = false;
  bool prepend = false;
  bool replace = false;
};

absl::Status ReadNormalizer(const Json& root, const std::string& name, Normalizer* normalizer) {
  Steps steps(root, name, "normalizer", "normalizers");
  if (!steps.status().ok()) return steps.status();
  for (Step& step : steps.steps()) {
    JsonFields& fields = step.fields;
    if (step.type == "NFC") {
      normalizer->nfc = true;
    } else if (step.type == "Prepend") {
      const std::string text = fields.String("prepend");
      if (text != kSpace) fields.Refuse("prepend", "found ", QuoteForError(text), ", expected \"\u2581\"");
      normalizer->prepend = true;
    } else if (step.type == "Replace") {
      bool is_regex = false;
      const std::string pattern = ReadPattern(&fields, &is_regex);
      const std::string content = fields.String("content");
      if (is_regex || pattern != " " || content != kSpace) {
        fields.Refuse("pattern", "found ", QuoteForError(pattern), " for ", QuoteForError(content),
                      ", expected \" \" for \"\u2581\"");
      }
      normalizer->replace = true;
    } else {
      return Refuse(&step, "NFC, Prepend and Replace of a space by \"\u2581\", Sequence");
    }
    if (!fields.status().ok()) return fields.status();
  }
  return absl::OkStatus();
}

struct PreTokenizerSteps {
  bool digits = false;
  std::string words;  // the pattern's name with us
  bool byte_level = false;
  bool metaspace = false;
  bool split = false;
  SpacePrefix prefix = SpacePrefix::kNever;
};

void ReadSplit(JsonFields* fields, PreTokenizerSteps* out) {
  bool is_regex = false;
  const std::string pattern = ReadPattern(fields, &is_regex);
  const auto known = std::find_if(std::begin(kPatterns), std::end(kPatterns),
                                  [&](const auto& candidate) { return is_regex && candidate.first == pattern; });
  if (known == std::end(kPatterns)) {
    std::string quoted;
    AppendValidUtf8(std::string_view(pattern).substr(0, 500), &quoted);
    fields->Refuse("pattern", "found ", quoted, ", which is not known; known: those of gpt2, llama-bpe, qwen2, smollm");
    return;
  }
  const std::string behavior = OptionalString(fields, "behavior", "Isolated");
  if (behavior != "Isolated" && behavior != "isolated") {
    fields->Refuse("behavior", "found ", QuoteForError(behavior), ", expected \"Isolated\"");
  }
  if (OptionalBool(fields, "invert", false)) fields->Refuse("invert", "found true, expected false");
  if (known->second == "digits") {
    out->digits = true;
  } else if (out->words.empty()) {
    out->words = known->second;
  } else {
    fields->Refuse("pattern", "a second pattern, after that of ", out->words);
  }
}

void ReadMetaspace(JsonFields* fields, PreTokenizerSteps* out) {
  const std::string replacement = OptionalString(fields, "replacement", std::string(kSpace));
  if (replacement != kSpace)
    fields->Refuse("replacement", "found ", QuoteForError(replacement), ", expected \"\u2581\"");
  const bool adds = OptionalBool(fields, "add_prefix_space", true);
  const std::string scheme = OptionalString(fields, "prepend_scheme", adds ? "always" : "never");
  if (scheme != "first" && scheme != "always" && scheme != "never") {
    fields->Fail("prepend_scheme", "found ", QuoteForError(scheme), ", expected first, always or never");
  }
  out->prefix = scheme == "first"    ? SpacePrefix::kFirst
                : scheme == "always" ? SpacePrefix::kAlways
                                     : SpacePrefix::kNever;
  out->split = OptionalBool(fields, "split", true);
  out->metaspace = true;
}

absl::Status ReadPreTokenizer(const Json& root, const std::string& name, PreTokenizerSteps* out) {
  Steps steps(root, name, "pre_tokenizer", "pretokenizers");
  if (!steps.status().ok()) return steps.status();
  for (Step& step : steps.steps()) {
    JsonFields& fields = step.fields;
    if (out->byte_level) {
      fields.Refuse("type", "found ", QuoteForError(step.type), " after ByteLevel, expected nothing");
    } else if (step.type == "ByteLevel") {
      if (OptionalBool(&fields, "add_prefix_space", true)) {
        fields.Refuse("add_prefix_space", "found true, expected false");
      }
      if (OptionalBool(&fields, "use_regex", true)) {
        if (!out->words.empty()) fields.Refuse("use_regex", "found true after another pattern, expected false");
        out->words = "gpt2";
      }
      out->byte_level = true;
    } else if (step.type == "Split") {
      ReadSplit(&fields, out);
    } else if (step.type == "Digits") {
      // In runs, they would be pieces of another pattern than any that we know.
      if (!OptionalBool(&fields, "individual_digits", false)) {
        fields.Refuse("individual_digits", "found false, expected true");
      }
      if (!out->words.empty()) fields.Refuse("type", "found \"Digits\" after another pattern, expected it first");
      out->digits = true;
    } else if (step.type == "Metaspace") {
      ReadMetaspace(&fields, out);
    } else {
      return Refuse(&step, "ByteLevel, Split, Digits, Metaspace, Sequence");
    }
    if (!fields.status().ok()) return fields.status();
  }
  return absl::OkStatus();
}

absl::Status Combine(const Normalizer& normalizer, const PreTokenizerSteps& pre, const std::string& name,
                     Vocabulary* vocabulary) {
  const auto refuse = [&](std::string_view field, std::string_view what) {
    return absl::UnimplementedError(absl::StrCat(name, ": ", absl::string_view(field.data(), field.size()), ": ",
                                                 absl::string_view(what.data(), what.size())));
  };
  if (pre.byte_level) {
    if (normalizer.replace || normalizer.prepend || pre.metaspace) {
      return refuse("normalizer", "ByteLevel together with \"\u2581\" for spaces");
    }
    if (pre.words.empty()) return refuse("pre_tokenizer", "ByteLevel without a pattern");
    if (pre.digits && pre.words != "gpt2") return refuse("pre_tokenizer", "single digits before a pattern not gpt2's");
    vocabulary->kind = TokenizerKind::kByteBpe;
    vocabulary->pre_tokenizer = pre.digits ? "smollm" : pre.words;
    vocabulary->nfc = normalizer.nfc;
    return absl::OkStatus();
  }
  if (pre.digits || !pre.words.empty()) return refuse("pre_tokenizer", "a pattern without ByteLevel");
  if (normalizer.nfc) return refuse("normalizer", "NFC without ByteLevel");
  if (normalizer.replace == pre.metaspace) {
    return refuse("pre_tokenizer", pre.metaspace ? "Metaspace after a normalizer that replaces spaces already"
                                                 : "neither ByteLevel nor \"\u2581\" for spaces");
  }
  if (normalizer.prepend && pre.metaspace) return refuse("normalizer", "Prepend together with Metaspace");
  vocabulary->kind = TokenizerKind::kCharacterBpe;
  vocabulary->pre_tokenizer = !pre.metaspace ? "" : pre.split ? "metaspace-split" : "metaspace";
  vocabulary->space_prefix = pre.metaspace        ? pre.prefix
                             : normalizer.prepend ? SpacePrefix::kAlways
                                                  : SpacePrefix::kNever;
  return absl::OkStatus();
}

// {"SpecialToken": {"id": "<s>"}} -> "<s>"; "" for anything else.
std::string SpecialTokenOf(const Json& piece) {
  if (!piece.is_object() || !piece.contains("SpecialToken")) return "";
  const Json& token = piece["SpecialToken"];
  const std::string* text =
      token.is_object() && token.contains("id") ? token["id"].get_ptr<const std::string*>() : nullptr;
  return text == nullptr ? "" : *text;
}

// What comes before a single text. What comes after it is left out: sessions go on.
absl::Status ReadTemplate(JsonFields* fields, Vocabulary* vocabulary) {
  const Json* single = fields->Find("single");
  if (single == nullptr || !single->is_array()) {
    fields->Fail("single", "missing, expected an array");
    return fields->status();
  }
  for (size_t i = 0; i < single->size(); ++i) {
    const Json& piece = (*single)[i];
    if (piece.is_object() && piece.contains("Sequence")) return fields->status();
    const std::string text = SpecialTokenOf(piece);
    if (text.empty()) {
      fields->Fail("single", "found ", Description(piece), ", expected {\"SpecialToken\": ..} or {\"Sequence\": ..}");
    } else if (i > 0) {
      fields->Refuse("single", "more than one token before the text");
    } else {
      vocabulary->bos_id = FindTokenId(*vocabulary, text);
      if (vocabulary->bos_id < 0) fields->Fail("single", "begins with ", QuoteForError(text), ", which is no token");
      vocabulary->add_bos = true;
    }
    if (!fields->status().ok()) return fields->status();
  }
  fields->Fail("single", "has no text, expected {\"Sequence\": ..}");
  return fields->status();
}

absl::Status ReadPostProcessor(const Json& root, const std::string& name, Vocabulary* vocabulary) {
  Steps steps(root, name, "post_processor", "processors");
  if (!steps.status().ok()) return steps.status();
  for (Step& step : steps.steps()) {
    if (step.type == "ByteLevel") continue;  // offsets only
    if (step.type != "TemplateProcessing") return Refuse(&step, "TemplateProcessing, ByteLevel, Sequence");
    if (absl::Status status = ReadTemplate(&step.fields, vocabulary); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckDecoder(const Json& root, const std::string& name) {
  Steps steps(root, name, "decoder", "decoders");
  if (!steps.status().ok()) return steps.status();
  for (Step& step : steps.steps()) {
    constexpr std::string_view kInverse[] = {"ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip"};
    if (std::find(std::begin(kInverse), std::end(kInverse), step.type) == std::end(kInverse)) {
      return Refuse(&step, "ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, Sequence");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadPipeline(const Json& root, const std::string& name, Vocabulary* vocabulary) {
  Normalizer normalizer;
  PreTokenizerSteps pre;
  if (absl::Status status = ReadNormalizer(root, name, &normalizer); !status.ok()) return status;
  if (absl::Status status = ReadPreTokenizer(root, name, &pre); !status.ok()) return status;
  if (absl::Status status = Combine(normalizer, pre, name, vocabulary); !status.ok()) return status;
  if (absl::Status status = ReadPostProcessor(root, name, vocabulary); !status.ok()) return status;
  return CheckDecoder(root, name);
}

}  // namespace cascade
