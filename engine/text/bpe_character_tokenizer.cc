#include "engine/text/bpe_character_tokenizer.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "engine/text/utf8.h"

namespace cascade {
namespace {

constexpr std::string_view kSpace = "\u2581";

std::array<int32_t, 256> NoBytes() {
  std::array<int32_t, 256> ids;
  ids.fill(-1);
  return ids;
}

std::string ByteName(int byte) {
  char name[8];
  std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
  return name;
}

// The byte that "<0x41>" stands for, or -1.
int ByteOf(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const int high = digit(text[3]);
  const int low = digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// `text` with every `from` as `to`.
void AppendReplaced(std::string_view text, std::string_view from, std::string_view to, std::string* out) {
  for (size_t pos = 0;;) {
    const size_t found = text.find(from, pos);
    out->append(text.substr(pos, found == std::string_view::npos ? found : found - pos));
    if (found == std::string_view::npos) return;
    out->append(to);
    pos = found + from.size();
  }
}

}  // namespace

BpeCharacterTokenizer::BpeCharacterTokenizer(const Options& options)
    : metaspace_(options.metaspace),
      split_(options.split),
      ignore_merges_(options.ignore_merges),
      merger_(NoBytes()),
      byte_ids_(NoBytes()) {}

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeCharacterTokenizer::Create(const Vocabulary& vocabulary) {
  const std::string& pre = vocabulary.pre_tokenizer;
  const bool split = pre == "metaspace-split";
  if (!split && !pre.empty() && pre != "metaspace") {
    return absl::UnimplementedError(absl::StrCat(FieldName(vocabulary, "pre"), ": ", QuoteForError(pre),
                                                 " is not supported; supported: metaspace, metaspace-split"));
  }
  const absl::StatusOr<TokenIndex> index = IndexTokens(vocabulary);
  if (!index.ok()) return index.status();
  std::unique_ptr<BpeCharacterTokenizer> tokenizer(
      new BpeCharacterTokenizer({!pre.empty(), split, vocabulary.ignore_merges}));
  if (absl::Status status = AddMerges(vocabulary, *index, &tokenizer->merger_); !status.ok()) return status;
  for (const std::string& merge : vocabulary.merges) {
    const size_t space = merge.find(' ');
    const std::string_view left = std::string_view(merge).substr(0, space);
    if (std::string_view(merge).substr(space + 1).starts_with(kSpace) && !left.ends_with(kSpace)) {
      tokenizer->words_apart_ = false;
      break;
    }
  }
  if (absl::Status status = tokenizer->IndexCharacters(vocabulary, *index); !status.ok()) return status;
  const auto append_bytes = [](std::string_view text, TokenType type, std::string* bytes) {
    const int byte = type == TokenType::kByte ? ByteOf(text) : -1;
    if (byte >= 0) {
      bytes->push_back(static_cast<char>(byte));
    } else {
      AppendReplaced(text, kSpace, " ", bytes);
    }
  };
  if (absl::Status status = tokenizer->AddTokens(vocabulary, append_bytes); !status.ok()) return status;
  for (int32_t id = 0; vocabulary.ignore_merges && id < tokenizer->vocabulary_size(); ++id) {
    const std::string_view text = tokenizer->TokenText(id);
    if (tokenizer->IsControl(id) || text.empty()) continue;
    tokenizer->whole_pieces_.try_emplace(absl::string_view(text.data(), text.size()), id);
  }
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

absl::Status BpeCharacterTokenizer::IndexCharacters(const Vocabulary& vocabulary, const TokenIndex& index) {
  const auto type = [&](int32_t id) { return vocabulary.types.empty() ? TokenType::kNormal : vocabulary.types[id]; };
  for (const auto& [text, id] : index) {
    size_t end = 0;
    const uint32_t character = NextCodePoint(std::string_view(text.data(), text.size()), &end);
    if (end == text.size() && id < vocabulary.size && type(id) == TokenType::kNormal) characters_[character] = id;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const int32_t id = FindToken(index, ByteName(byte));
    if (id >= 0 && id < vocabulary.size && type(id) == TokenType::kByte) byte_ids_[byte] = id;
  }
  // A vocabulary of characters alone is none that anything could be written with: better now than as empty prompts.
  if (vocabulary.unknown_id < 0 && std::count(byte_ids_.begin(), byte_ids_.end(), -1) > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        FieldName(vocabulary, "tokens"),
        ": no unknown token, and not all of \"<0x00>\" to \"<0xFF>\" are there: some characters would have no ids"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> BpeCharacterTokenizer::Normalize(std::string_view text, bool space,
                                                                  std::string* storage) const {
  if (metaspace_) return text;
  storage->clear();
  if (space) *storage = kSpace;
  AppendReplaced(text, " ", kSpace, storage);
  return std::string_view(*storage);
}

absl::Status BpeCharacterTokenizer::EncodePart(std::string_view text, bool space, BpeMerger::Workspace* workspace,
                                               std::vector<int32_t>* ids) const {
  std::string storage;
  if (metaspace_) {
    if (space && !text.starts_with(' ') && !text.starts_with(kSpace)) storage = kSpace;
    AppendReplaced(text, " ", kSpace, &storage);
    text = storage;
  }
  const bool cut_runs = words_apart_ && !ignore_merges_;
  if (!split_ && !cut_runs) {
    EncodePiece(text, workspace, ids);
    return absl::OkStatus();
  }
  size_t begin = 0;
  for (size_t pos = text.find(kSpace); pos != std::string_view::npos; pos = text.find(kSpace, pos + kSpace.size())) {
    if (pos == begin) continue;
    if (!split_ && text.substr(0, pos).ends_with(kSpace)) continue;  // within a run
    EncodePiece(text.substr(begin, pos - begin), workspace, ids);
    begin = pos;
  }
  EncodePiece(text.substr(begin), workspace, ids);
  return absl::OkStatus();
}

void BpeCharacterTokenizer::EncodePiece(std::string_view piece, BpeMerger::Workspace* workspace,
                                        std::vector<int32_t>* ids) const {
  if (ignore_merges_) {
    if (const int32_t id = FindToken(whole_pieces_, piece); id >= 0) {
      ids->push_back(id);
      return;
    }
  }
  std::vector<int32_t>& start = workspace->start;
  start.clear();
  bool after_unknown = false;
  for (size_t pos = 0; pos < piece.size();) {
    const size_t begin = pos;
    const uint32_t character = NextCodePoint(piece, &pos);
    if (const auto it = characters_.find(character); it != characters_.end()) {
      start.push_back(it->second);
      after_unknown = false;
      continue;
    }
    const std::string_view bytes = piece.substr(begin, pos - begin);
    if (std::all_of(bytes.begin(), bytes.end(), [&](char c) { return byte_ids_[static_cast<uint8_t>(c)] >= 0; })) {
      for (const char c : bytes) start.push_back(byte_ids_[static_cast<uint8_t>(c)]);
      after_unknown = false;
    } else {
      if (!after_unknown) start.push_back(unknown_id());
      after_unknown = true;
    }
  }
  merger_.MergeSymbols(start, workspace, ids);
}

}  // namespace cascade
