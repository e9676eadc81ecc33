#include "engine/text/sentencepiece_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "cascade_text/piece_model.pb.h"
#include "engine/text/sentencepiece_charsmap.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

using text::PieceModel;

constexpr int32_t kUnigram = 1;
constexpr int32_t kBpe = 2;
// The library's time per character grows with the longest piece, and it recurses that deep while it builds its trie.
// Published ones end at some hundred (runs of spaces).
constexpr size_t kMaxPieceBytes = 1024;
constexpr float kMaxScore = 1e9f;  // far beyond any; sums of a text's scores stay finite
constexpr int kMaxNested = 64;  // user-defined pieces that begin one another: the library's array has this many places
constexpr size_t kMaxSurfaceBytes = 64;
constexpr std::string_view kDefaultSurface = " \xE2\x81\x87 ";  // U+2047

// In the order of TokenType; the numbers are the model file's, and GGUF's as well.
constexpr int32_t kTypeNumbers[] = {1, 2, 3, 4, 5, 6};

class Builder {
 public:
  explicit Builder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  absl::StatusOr<SentencePieceModel> Build() {
    absl::Status status = vocabulary_.sentencepiece_model.empty() ? TakePieces() : TakeModel();
    if (!status.ok()) return status;
    ApplyAdded();
    status = FindUnknown();
    if (status.ok()) status = CheckPieces();
    if (status.ok()) status = CheckBytes();
    if (status.ok()) status = CheckNesting();
    if (!status.ok()) return status;
    FindEnds();
    return Finish();
  }

 private:
  template <class... Parts>
  absl::Status Error(std::string_view field, const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary_, field), ": ", parts...));
  }
  template <class... Parts>
  absl::Status Unsupported(std::string_view field, const Parts&... parts) const {
    return absl::UnimplementedError(absl::StrCat(FieldName(vocabulary_, field), ": ", parts...));
  }
  std::string PieceName(size_t id) const { return absl::StrCat(is_file_ ? "pieces[" : "tokens[", id, "]"); }

  // tokenizer.model.
  absl::Status TakeModel() {
    is_file_ = true;
    PieceModel file;
    if (!file.ParseFromString(vocabulary_.sentencepiece_model)) {
      return absl::InvalidArgumentError(absl::StrCat(vocabulary_.origin, ": not a SentencePiece model"));
    }
    if (file.pieces_size() == 0) return Error("pieces", "missing or empty");
    const PieceModel::Trainer& trainer = file.trainer_spec();
    if (trainer.model_type() != kUnigram && trainer.model_type() != kBpe) {
      return Unsupported("trainer_spec.model_type", trainer.model_type(), "; supported: 1 (unigram), 2 (BPE)");
    }
    const PieceModel::Normalizer& normalizer = file.normalizer_spec();
    if (trainer.treat_whitespace_as_suffix()) {
      return Unsupported("trainer_spec.treat_whitespace_as_suffix", "spaces at the ends of pieces are not supported");
    }
    if (!normalizer.escape_whitespaces()) {
      return Unsupported("normalizer_spec.escape_whitespaces", "spaces that are not escaped are not supported");
    }
    if (!file.denormalizer_spec().precompiled_charsmap().empty()) {
      return Unsupported("denormalizer_spec", "a model that changes the text it decodes is not supported");
    }
    if (!normalizer.precompiled_charsmap().empty()) {
      if (absl::Status status = CheckCharsMap(normalizer.precompiled_charsmap()); !status.ok()) {
        return Error("normalizer_spec.precompiled_charsmap", status.message());
      }
    }
    const bool has_surface = trainer.has_unk_surface();
    model_.unknown_surface = has_surface ? trainer.unk_surface() : std::string(kDefaultSurface);
    if (model_.unknown_surface.size() > kMaxSurfaceBytes || !IsText(model_.unknown_surface)) {
      return Error("trainer_spec.unk_surface", "expected at most ", kMaxSurfaceBytes, " bytes of UTF-8 without NUL");
    }
    model_.adds_dummy_prefix = normalizer.add_dummy_prefix();
    bos_ = trainer.bos_id();
    eos_ = trainer.eos_id();
    // Only what is known goes to the library: a model file may also hold texts that it would encode as a test.
    PieceModel::Trainer* out = proto_.mutable_trainer_spec();
    out->set_model_type(trainer.model_type());
    out->set_byte_fallback(trainer.byte_fallback());
    *proto_.mutable_normalizer_spec() = normalizer;
    proto_.mutable_normalizer_spec()->mutable_unknown_fields()->clear();
    const int count = std::min(file.pieces_size(), vocabulary_.size);
    for (int id = 0; id < count; ++id) {
      PieceModel::Piece* piece = file.mutable_pieces(id);
      const int32_t* type = std::find(std::begin(kTypeNumbers), std::end(kTypeNumbers), piece->type());
      if (type == std::end(kTypeNumbers)) return Error(PieceName(id), "type ", piece->type(), " is not known");
      AddPiece(std::move(*piece->mutable_piece()), piece->score(), static_cast<TokenType>(type - kTypeNumbers));
    }
    return absl::OkStatus();
  }

  // The pieces of a GGUF file. As llama.cpp encodes them: BPE, and the text as it is.
  absl::Status TakePieces() {
    const size_t tokens = vocabulary_.tokens.size();
    if (vocabulary_.scores.size() != tokens) {
      return Error("scores", vocabulary_.scores.size(), " scores for ", tokens, " tokens");
    }
    if (vocabulary_.types.size() != tokens) {
      return Error("token_type", vocabulary_.types.size(), " types for ", tokens, " tokens");
    }
    model_.unknown_surface = kDefaultSurface;
    const size_t count = std::min(tokens, static_cast<size_t>(vocabulary_.size));
    bool has_bytes = false;
    for (size_t id = 0; id < count; ++id) {
      AddPiece(vocabulary_.tokens[id], vocabulary_.scores[id], vocabulary_.types[id]);
      has_bytes |= vocabulary_.types[id] == TokenType::kByte;
    }
    proto_.mutable_trainer_spec()->set_model_type(kBpe);
    proto_.mutable_trainer_spec()->set_byte_fallback(has_bytes);
    proto_.mutable_normalizer_spec()->set_remove_extra_whitespaces(false);
    proto_.mutable_normalizer_spec()->set_escape_whitespaces(true);
    return absl::OkStatus();
  }

  static PieceModel::Piece MakePiece(std::string text, float score, TokenType type) {
    PieceModel::Piece piece;
    piece.set_piece(std::move(text));
    piece.set_score(score);
    piece.set_type(kTypeNumbers[static_cast<size_t>(type)]);
    return piece;
  }

  void AddPiece(std::string text, float score, TokenType type) {
    model_.pieces.push_back({text, type});
    *proto_.add_pieces() = MakePiece(std::move(text), score, type);
  }

  // What the list of added tokens makes a control token is never found by merging pieces.
  void ApplyAdded() {
    for (const AddedToken& added : vocabulary_.added) {
      if (added.id < 0 || static_cast<size_t>(added.id) >= model_.pieces.size()) continue;
      SentencePieceModel::Piece& piece = model_.pieces[added.id];
      if (piece.type == TokenType::kUnknown) continue;
      if (added.special) {
        piece.type = TokenType::kControl;
      } else if (piece.type == TokenType::kControl) {
        piece.type = TokenType::kUserDefined;
      }
    }
  }

  absl::Status FindUnknown() {
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      if (model_.pieces[id].type != TokenType::kUnknown) continue;
      if (model_.unknown_id >= 0) {
        return Error(PieceName(id), "a second unknown piece; ", PieceName(model_.unknown_id), " is one already");
      }
      model_.unknown_id = static_cast<int32_t>(id);
    }
    if (model_.unknown_id >= 0) return absl::OkStatus();
    if (vocabulary_.unknown_id < 0 || static_cast<size_t>(vocabulary_.unknown_id) >= model_.pieces.size()) {
      return Error(is_file_ ? "pieces" : "tokens", "none is the unknown piece");
    }
    model_.unknown_id = vocabulary_.unknown_id;
    model_.pieces[model_.unknown_id].type = TokenType::kUnknown;
    return absl::OkStatus();
  }

  // Valid UTF-8 that C strings can hold.
  static bool IsText(std::string_view text) {
    return FindInvalidUtf8(text) == std::string_view::npos && text.find('\0') == std::string_view::npos;
  }

  absl::Status CheckPieces() {
    absl::flat_hash_map<absl::string_view, size_t> ids;  // views the pieces
    ids.reserve(model_.pieces.size());
    bool has_text = false;
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const auto& [text, type] = model_.pieces[id];
      PieceModel::Piece* piece = proto_.mutable_pieces(static_cast<int>(id));
      if (text.empty()) {
        // Some published GGUF files have tokens without a text. They are never found.
        if (is_file_ || static_cast<int32_t>(id) == model_.unknown_id) return Error(PieceName(id), "is empty");
        model_.pieces[id].type = TokenType::kUnused;
        *piece = MakePiece(absl::StrCat("[empty ", id, "]"), 0, TokenType::kControl);
        continue;
      }
      if (text.size() > kMaxPieceBytes) {
        return Error(PieceName(id), "has ", text.size(), " bytes; expected at most ", kMaxPieceBytes);
      }
      if (!IsText(text)) return Error(PieceName(id), "is not UTF-8 without NUL: ", QuoteForError(text));
      const auto [it, added] = ids.try_emplace(text, id);
      if (!added) return Error(PieceName(id), QuoteForError(text), " is ", PieceName(it->second), " already");
      const float score = piece->score();
      if (!std::isfinite(score) || std::fabs(score) > kMaxScore) {
        return Error(is_file_ ? PieceName(id) : absl::StrCat("scores[", id, "]"), "score ", score,
                     "; expected a number of at most ", kMaxScore, " in size");
      }
      has_text |= type == TokenType::kNormal || type == TokenType::kUserDefined;
      piece->set_type(kTypeNumbers[static_cast<size_t>(type)]);
    }
    if (!has_text) return Error(is_file_ ? "pieces" : "tokens", "none is text");
    return absl::OkStatus();
  }

  absl::Status CheckBytes() {
    const bool fallback = proto_.trainer_spec().byte_fallback();
    bool found[256] = {};
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const auto& [text, type] = model_.pieces[id];
      if (type != TokenType::kByte) continue;
      if (!fallback) return Error(PieceName(id), "is a byte, but trainer_spec.byte_fallback is false");
      const int byte = SentencePieceByte(text);
      if (byte < 0) return Error(PieceName(id), QuoteForError(text), " is no byte; expected \"<0x00>\" to \"<0xFF>\"");
      found[byte] = true;
    }
    const bool* missing = std::find(std::begin(found), std::end(found), false);
    if (fallback && missing != std::end(found)) {
      return Error(is_file_ ? "pieces" : "tokens", "byte <0x",
                   absl::Hex(static_cast<int>(missing - found), absl::kZeroPad2), "> has no piece");
    }
    return absl::OkStatus();
  }

  absl::Status CheckNesting() const {
    std::vector<std::string_view> texts;
    for (const SentencePieceModel::Piece& piece : model_.pieces) {
      if (piece.type == TokenType::kUserDefined) texts.push_back(piece.text);
    }
    std::sort(texts.begin(), texts.end());
    std::vector<std::string_view> begun;  // those that begin the one at hand, each the next
    for (const std::string_view text : texts) {
      while (!begun.empty() && text.substr(0, begun.back().size()) != begun.back()) begun.pop_back();
      begun.push_back(text);
      if (begun.size() > kMaxNested) {
        return Error(is_file_ ? "pieces" : "tokens", "more than ", kMaxNested, " user-defined pieces begin ",
                     QuoteForError(text));
      }
    }
    return absl::OkStatus();
  }

  void FindEnds() {
    const auto choose = [&](int32_t given, int32_t own) {
      if (given >= 0 || own < 0 || static_cast<size_t>(own) >= model_.pieces.size()) return given;
      return model_.pieces[own].type == TokenType::kControl ? own : given;
    };
    model_.bos_id = choose(vocabulary_.bos_id, bos_);
    model_.eos_id = choose(vocabulary_.eos_id, eos_);
  }

  absl::StatusOr<SentencePieceModel> Finish() {
    if (proto_.ByteSizeLong() > std::numeric_limits<int32_t>::max() || !proto_.SerializeToString(&model_.serialized)) {
      return Error(is_file_ ? "pieces" : "tokens", "over 2 GiB");
    }
    model_.pieces.resize(vocabulary_.size);
    return std::move(model_);
  }

  const Vocabulary& vocabulary_;
  SentencePieceModel model_;
  PieceModel proto_;
  bool is_file_ = false;
  int32_t bos_ = -1;
  int32_t eos_ = -1;
};

}  // namespace

int SentencePieceByte(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const auto digit = [&](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  const int high = digit(text[3]);
  const int low = digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

absl::StatusOr<SentencePieceModel> SentencePieceModel::Create(const Vocabulary& vocabulary) {
  return Builder(vocabulary).Build();
}

}  // namespace cascade
