#include "engine/text/bpe_base.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/text/end_tokens.h"
#include "engine/text/utf8.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

// Sizes are 32-bit inside; requests are far smaller (--max-prompt-bytes).
constexpr size_t kMaxTextBytes = size_t{1} << 29;

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

std::string TokenName(const Vocabulary& vocabulary, size_t id) {
  return absl::StrCat(FieldName(vocabulary, "tokens"), "[", id, "]: ");
}

bool IsUnused(const Vocabulary& vocabulary, size_t id) {
  return vocabulary.tokens[id].empty() || (!vocabulary.types.empty() && vocabulary.types[id] == TokenType::kUnused);
}

}  // namespace

absl::StatusOr<TokenIndex> IndexTokens(const Vocabulary& vocabulary) {
  TokenIndex index;
  index.reserve(vocabulary.tokens.size());
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (IsUnused(vocabulary, i)) continue;
    const std::string& token = vocabulary.tokens[i];
    if (FindInvalidUtf8(token) != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(TokenName(vocabulary, i), "is not UTF-8: ", QuoteForError(token)));
    }
    const auto [it, added] = index.try_emplace(View(token), static_cast<int32_t>(i));
    if (!added) {
      return absl::InvalidArgumentError(
          absl::StrCat(TokenName(vocabulary, i), QuoteForError(token), " is token ", it->second, " already"));
    }
  }
  return index;
}

int32_t FindToken(const TokenIndex& index, std::string_view text) {
  const auto it = index.find(View(text));
  return it == index.end() ? -1 : it->second;
}

absl::Status AddMerges(const Vocabulary& vocabulary, const TokenIndex& index, BpeMerger* merger) {
  merger->Reserve(vocabulary.merges.size());
  std::string merged;
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges[i];
    const auto error = [&](std::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary, "merges"), "[", i, "]: ", View(what)));
    };
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      return error(absl::StrCat("expected \"left right\", found ", QuoteForError(merge)));
    }
    merged.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const std::string_view pieces[3] = {merge.substr(0, space), merge.substr(space + 1), merged};
    int32_t ids[3];
    bool has_rows = true;
    for (int p = 0; p < 3; ++p) {
      ids[p] = FindToken(index, pieces[p]);
      if (ids[p] < 0) return error(absl::StrCat("no token ", QuoteForError(pieces[p])));
      has_rows = has_rows && ids[p] < vocabulary.size;
    }
    if (has_rows && !merger->AddMerge(ids[0], ids[1], ids[2])) {
      return error(absl::StrCat(QuoteForError(merge), " is there already"));
    }
  }
  return absl::OkStatus();
}

absl::Status BpeBase::AddTokens(const Vocabulary& vocabulary, const AppendBytes& append_bytes) {
  if (vocabulary.kind == TokenizerKind::kCharacterBpe) space_prefix_ = vocabulary.space_prefix;
  bos_id_ = vocabulary.bos_id;
  eos_id_ = vocabulary.eos_id;
  unknown_id_ = vocabulary.unknown_id;
  std::vector<Entry> entries(static_cast<size_t>(vocabulary.size));
  for (size_t i = 0; i < std::min(vocabulary.tokens.size(), entries.size()); ++i) {
    if (IsUnused(vocabulary, i)) continue;
    const int32_t id = static_cast<int32_t>(i);
    TokenType type = vocabulary.types.empty() ? TokenType::kNormal : vocabulary.types[i];
    if (vocabulary.kind == TokenizerKind::kCharacterBpe && id == unknown_id_ && type == TokenType::kNormal)
      type = TokenType::kUnknown;
    entries[i] = {vocabulary.tokens[i], type, nullptr};
  }
  for (size_t i = 0; i < vocabulary.added.size(); ++i) {
    const AddedToken& token = vocabulary.added[i];
    const std::string name = absl::StrCat(FieldName(vocabulary, "added_tokens"), "[", i, "]: ");
    if (token.id < 0) return absl::InvalidArgumentError(absl::StrCat(name, "id ", token.id, " is negative"));
    if (token.text.empty() || FindInvalidUtf8(token.text) != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(name, "empty or not UTF-8: ", QuoteForError(token.text)));
    }
    if (token.id >= vocabulary.size) continue;
    Entry& entry = entries[token.id];
    if (entry.added != nullptr || (!entry.text.empty() && entry.text != token.text)) {
      return absl::InvalidArgumentError(absl::StrCat(name, QuoteForError(token.text), " has id ", token.id,
                                                     ", which is ", QuoteForError(entry.text), " already"));
    }
    entry = {token.text, token.special ? TokenType::kControl : TokenType::kUserDefined, &token};
  }
  byte_ends_.push_back(0);
  text_ends_.push_back(0);
  for (int32_t id = 0; id < vocabulary.size; ++id) {
    if (absl::Status status = AddEntry(vocabulary, id, entries[id], append_bytes); !status.ok()) return status;
  }
  end_ids_ = FindEndIds(vocabulary, eos_id_, control_);
  if (vocabulary.add_bos) start_ids_.push_back(vocabulary.bos_id);
  return absl::OkStatus();
}

absl::Status BpeBase::AddEntry(const Vocabulary& vocabulary, int32_t id, const Entry& entry,
                               const AppendBytes& append_bytes) {
  const bool is_control = entry.type == TokenType::kControl || entry.type == TokenType::kUnknown;
  is_control_.push_back(is_control);
  if (is_control || entry.type == TokenType::kUserDefined) {
    AddedToken token;
    if (entry.added != nullptr) token = *entry.added;
    token.id = id;
    token.text = std::string(entry.text);
    // A control token is found as it is spelled, whatever its file says of normalizing: the templates write it so.
    token.normalized = token.normalized && !is_control;
    std::string storage;
    const absl::StatusOr<std::string_view> text =
        token.normalized ? Normalize(token.text, true, &storage) : std::string_view(token.text);
    if (!text.ok()) return text.status();
    if (absl::Status status = AddAdded(vocabulary, *text, token, is_control); !status.ok()) return status;
    if (!is_control) append_bytes(*text, entry.type, &bytes_);
  } else if (entry.type != TokenType::kUnused) {
    append_bytes(entry.text, entry.type, &bytes_);
  }
  texts_ += entry.text;
  if (bytes_.size() > kMaxTextBytes || texts_.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat(FieldName(vocabulary, "tokens"), ": over 512 MiB of text"));
  }
  byte_ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  text_ends_.push_back(static_cast<uint32_t>(texts_.size()));
  return absl::OkStatus();
}

absl::Status BpeBase::AddAdded(const Vocabulary& vocabulary, std::string_view text, const AddedToken& token,
                               bool is_control) {
  AddedTokens& found = token.normalized ? normalized_ : all_special_;
  if (found.Has(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat(FieldName(vocabulary, "added_tokens"), ": ", QuoteForError(token.text), " is there twice"));
  }
  found.Add(text, token);
  if (is_control) {
    control_.Add(text, token.id);
  } else if (!token.normalized) {
    plain_.Add(text, token);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> BpeBase::EncodeAt(TextStart start, std::string_view text,
                                                       bool parse_special) const {
  if (text.size() > kMaxTextBytes) return absl::InvalidArgumentError("text: over 512 MiB");
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("text: invalid UTF-8 at byte ", bad));
  }
  const bool later = space_prefix_ == SpacePrefix::kAlways;  // a space also after each added token
  const bool begin =
      start == TextStart::kText ? space_prefix_ != SpacePrefix::kNever : start == TextStart::kAfterControl && later;
  std::vector<int32_t> ids;
  BpeMerger::Workspace workspace;
  std::string storage;
  const auto token = [&](int32_t id) { ids.push_back(id); };
  const auto part = [&](std::string_view raw, size_t place) {
    const bool space = place == 0 ? begin : later;
    const absl::StatusOr<std::string_view> normal = Normalize(raw, space, &storage);
    if (!normal.ok()) return normal.status();
    if (normalized_.empty()) return EncodePart(*normal, space, &workspace, &ids);
    const auto piece = [&](std::string_view rest, size_t offset) {
      return EncodePart(rest, offset == 0 ? space : later, &workspace, &ids);
    };
    return normalized_.Split(*normal, piece, token);
  };
  const AddedTokens& literal = parse_special ? all_special_ : plain_;
  if (absl::Status status = literal.Split(text, part, token); !status.ok()) return status;
  return ids;
}

std::string_view BpeBase::TokenBytes(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return std::string_view(bytes_).substr(byte_ends_[id], byte_ends_[id + 1] - byte_ends_[id]);
}

std::string_view BpeBase::TokenText(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return std::string_view(texts_).substr(text_ends_[id], text_ends_[id + 1] - text_ends_[id]);
}

bool BpeBase::IsControl(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return is_control_[id];
}

}  // namespace cascade
