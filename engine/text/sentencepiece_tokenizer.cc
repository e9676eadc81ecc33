#include "engine/text/sentencepiece_tokenizer.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/text/end_tokens.h"
#include "engine/text/utf8.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
// Positions in a normalized text, which can be several times as long, are 32 bits in the library. Requests are far
// smaller (--max-prompt-bytes).
constexpr size_t kMaxTextBytes = size_t{1} << 26;
constexpr size_t kMaxNormalizedBytes = size_t{1} << 30;

std::string Unescape(std::string_view text) {
  std::string bytes;
  for (size_t pos = 0; pos < text.size();) {
    const size_t space = std::min(text.find(kSpace, pos), text.size());
    bytes += text.substr(pos, space - pos);
    if (space < text.size()) bytes += ' ';
    pos = space + kSpace.size();
  }
  return bytes;
}

std::string PieceBytes(const SentencePieceModel& model, int32_t id) {
  const auto& [text, type] = model.pieces[id];
  switch (type) {
    case TokenType::kControl:
      return "";
    case TokenType::kUnknown:
      return model.unknown_surface;
    case TokenType::kByte:
      return std::string(1, static_cast<char>(SentencePieceByte(text)));
    default:
      return Unescape(text);
  }
}

// Pieces of a tokenizer.model to which ControlRule applies, as added tokens. False: none.
bool AddControlPieces(const SentencePieceModel& model, Vocabulary* vocabulary) {
  absl::flat_hash_set<int32_t> known;
  for (const AddedToken& token : vocabulary->added) known.insert(token.id);
  const ControlRule rule(*vocabulary);
  const size_t before = vocabulary->added.size();
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& [text, type] = model.pieces[i];
    const int32_t id = static_cast<int32_t>(i);
    if (type == TokenType::kControl || known.contains(id) || !rule.Applies(id, text, type)) continue;
    vocabulary->added.push_back({id, text, true});
  }
  return vocabulary->added.size() > before;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Create(Vocabulary vocabulary) {
  absl::StatusOr<SentencePieceModel> model = SentencePieceModel::Create(vocabulary);
  if (model.ok() && AddControlPieces(*model, &vocabulary)) model = SentencePieceModel::Create(vocabulary);
  if (!model.ok()) return model.status();
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer);
  std::string error;
  tokenizer->library_ = SentencePieceLibrary::Load(model->serialized, &error);
  if (tokenizer->library_ == nullptr) {
    const char* field = vocabulary.sentencepiece_model.empty() ? "tokens" : "pieces";
    return absl::InvalidArgumentError(
        absl::StrCat(FieldName(vocabulary, field), ": the SentencePiece library refuses them: ", error));
  }
  if (absl::Status status = tokenizer->AddTokens(vocabulary, *model); !status.ok()) return status;
  tokenizer->space_prefix_ = model->adds_dummy_prefix ? vocabulary.space_prefix : SpacePrefix::kNever;
  tokenizer->bos_id_ = model->bos_id;
  tokenizer->eos_id_ = model->eos_id;
  tokenizer->unknown_id_ = model->unknown_id;
  tokenizer->end_ids_ = FindEndIds(vocabulary, model->eos_id, tokenizer->control_);
  if (vocabulary.add_bos) {
    if (model->bos_id < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(FieldName(vocabulary, "add_bos_token"), ": true, but there is no BOS token"));
    }
    tokenizer->start_ids_.push_back(model->bos_id);
  }
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

absl::Status SentencePieceTokenizer::AddTokens(const Vocabulary& vocabulary, const SentencePieceModel& model) {
  std::vector<AddedToken> special(model.pieces.size());  // by id, those that parse_special finds
  tokens_.resize(model.pieces.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const auto& [text, type] = model.pieces[id];
    const bool is_control = type == TokenType::kControl;
    tokens_[id] = {text, PieceBytes(model, static_cast<int32_t>(id)), is_control};
    if (is_control || type == TokenType::kUnknown) special[id] = {static_cast<int32_t>(id), text, true};
  }
  for (size_t i = 0; i < vocabulary.added.size(); ++i) {
    const AddedToken& added = vocabulary.added[i];
    const auto error = [&](const auto&... parts) {
      return absl::InvalidArgumentError(
          absl::StrCat(FieldName(vocabulary, absl::StrCat("added_tokens[", i, "]")), ": ", parts...));
    };
    if (added.id < 0) return error("id ", added.id);
    if (added.id >= vocabulary_size()) continue;  // the model has no row for it
    if (added.text.empty()) return error("has no text");
    if (FindInvalidUtf8(added.text) != std::string_view::npos)
      return error("is not UTF-8: ", QuoteForError(added.text));
    Token& token = tokens_[added.id];
    const bool is_same = token.text == added.text;  // as the model's own piece
    const bool is_user_defined = model.pieces[added.id].type == TokenType::kUserDefined;
    if (is_same && is_user_defined && !added.special && !added.strip_left && !added.strip_right) continue;
    token.text = added.text;
    token.is_control = added.special && added.id != model.unknown_id;
    if (token.is_control) token.bytes.clear();
    if (!added.special && !is_same) token.bytes = added.text;
    special[added.id] = added;
    if (added.special) continue;
    if (always_.Has(added.text)) return error(QuoteForError(added.text), " is there already");
    always_.Add(added.text, added);
  }
  for (const AddedToken& token : special) {
    if (token.id < 0) continue;
    if (special_.Has(token.text)) {
      return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary, "added_tokens"), ": token ", token.id, " ",
                                                     QuoteForError(token.text), " has the text of another"));
    }
    special_.Add(token.text, token);
    if (token.special) control_.Add(token.text, token.id);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::EncodeAt(TextStart start, std::string_view text,
                                                                      bool parse_special) const {
  if (text.size() > kMaxTextBytes) return absl::InvalidArgumentError("text: over 64 MiB");
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("text: invalid UTF-8 at byte ", bad));
  }
  const bool is_always = space_prefix_ == SpacePrefix::kAlways;
  bool space = start == TextStart::kText ? adds_space() : start == TextStart::kAfterControl && is_always;
  std::vector<int32_t> ids;
  const absl::Status status =
      (parse_special ? special_ : always_)
          .Split(
              text, [&](std::string_view part, size_t) { return EncodePart(part, space, &ids); },
              [&](int32_t id) {
                ids.push_back(id);
                space = is_always;
              });
  if (!status.ok()) return status;
  return ids;
}

absl::Status SentencePieceTokenizer::EncodePart(std::string_view text, bool space, std::vector<int32_t>* ids) const {
  std::string normalized;
  if (!library_->Normalize(text, space, &normalized)) return absl::ResourceExhaustedError("text: not enough memory");
  if (normalized.size() > kMaxNormalizedBytes) return absl::InvalidArgumentError("text: over 1 GiB when normalized");
  if (!library_->Encode(normalized, ids)) return absl::ResourceExhaustedError("text: not enough memory");
  return absl::OkStatus();
}

std::string_view SentencePieceTokenizer::TokenBytes(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return tokens_[id].bytes;
}

bool SentencePieceTokenizer::IsControl(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return tokens_[id].is_control;
}

std::string_view SentencePieceTokenizer::TokenText(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return tokens_[id].text;
}

}  // namespace cascade
