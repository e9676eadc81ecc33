#include "engine/text/bpe_tokenizer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/utf8.h"
#include "kernels/base/check.h"

namespace cascade {
namespace {

// Sizes are 32-bit inside; requests are far smaller (--max-prompt-bytes).
constexpr size_t kMaxTextBytes = size_t{1} << 30;

// Control tokens by which published models end a turn or a text. A chat model's EOS is often one of them while it still
// sometimes writes another (SmolLM2: EOS is <|im_end|>, and <|endoftext|> ends a reply just as well).
constexpr std::string_view kEndNames[] = {"<|im_end|>",      "<|endoftext|>", "<|eot_id|>",    "<|eom_id|>",
                                          "<|end_of_text|>", "<|end|>",       "<end_of_turn>", "</s>",
                                          "<EOT>",           "<|eot|>",       "<|return|>"};

// Keys view the vocabulary's strings, which live longer.
using TokenIndex = absl::flat_hash_map<absl::string_view, int32_t>;

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

bool IsControlType(TokenType type) { return type == TokenType::kControl || type == TokenType::kUnknown; }

absl::StatusOr<TokenIndex> IndexTokens(const Vocabulary& vocabulary) {
  TokenIndex index;
  index.reserve(vocabulary.tokens.size());
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& token = vocabulary.tokens[i];
    const std::string name = absl::StrCat("tokenizer.ggml.tokens[", i, "]: ");
    if (token.empty()) return absl::InvalidArgumentError(absl::StrCat(name, "is empty"));
    if (FindInvalidUtf8(token) != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(name, "is not UTF-8: ", QuoteForError(token)));
    }
    const auto [it, added] = index.try_emplace(View(token), static_cast<int32_t>(i));
    if (!added) {
      return absl::InvalidArgumentError(absl::StrCat(name, QuoteForError(token), " is token ", it->second, " already"));
    }
  }
  return index;
}

// -1 for a byte that has no token. Published vocabularies lack some control characters and bytes of rare scripts; one
// without printable ASCII is not of this kind.
absl::StatusOr<std::array<int32_t, 256>> FindByteIds(const TokenIndex& index) {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = ByteCharacter(static_cast<uint8_t>(byte));
    const auto it = index.find(View(character));
    ids[byte] = it == index.end() ? -1 : it->second;
    if (ids[byte] < 0 && ((byte >= 0x20 && byte < 0x7F) || byte == '\n')) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.tokens: no token for byte ", byte, " (", QuoteForError(character), ")"));
    }
  }
  return ids;
}

absl::Status AddMerges(const Vocabulary& vocabulary, const TokenIndex& index, BpeMerger* merger) {
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges[i];
    const auto error = [&](std::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.merges[", i, "]: ", View(what)));
    };
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      return error(absl::StrCat("expected \"left right\", found ", QuoteForError(merge)));
    }
    const std::string pieces[3] = {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1)),
                                   std::string(merge.substr(0, space)) + std::string(merge.substr(space + 1))};
    int32_t ids[3];
    for (int p = 0; p < 3; ++p) {
      const auto it = index.find(View(pieces[p]));
      if (it == index.end()) return error(absl::StrCat("no token ", QuoteForError(pieces[p])));
      ids[p] = it->second;
    }
    if (!merger->AddMerge(ids[0], ids[1], ids[2]))
      return error(absl::StrCat(QuoteForError(merge), " is there already"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(const Vocabulary& vocabulary) {
  absl::StatusOr<std::unique_ptr<PreTokenizer>> pre_tokenizer = PreTokenizer::Create(vocabulary.pre_tokenizer);
  if (!pre_tokenizer.ok()) return pre_tokenizer.status();
  const absl::StatusOr<TokenIndex> index = IndexTokens(vocabulary);
  if (!index.ok()) return index.status();
  const absl::StatusOr<std::array<int32_t, 256>> byte_ids = FindByteIds(*index);
  if (!byte_ids.ok()) return byte_ids.status();
  std::unique_ptr<BpeTokenizer> tokenizer(new BpeTokenizer(*byte_ids, *std::move(pre_tokenizer)));
  if (absl::Status status = AddMerges(vocabulary, *index, &tokenizer->merger_); !status.ok()) return status;
  if (absl::Status status = tokenizer->AddTokens(vocabulary); !status.ok()) return status;
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

absl::Status BpeTokenizer::AddTokens(const Vocabulary& vocabulary) {
  const int32_t size = static_cast<int32_t>(vocabulary.tokens.size());
  const int32_t ending[] = {vocabulary.eos_id, vocabulary.eot_id};
  byte_offsets_.push_back(0);
  for (int32_t id = 0; id < size; ++id) {
    const std::string& token = vocabulary.tokens[id];
    TokenType type = TokenType::kNormal;
    if (!vocabulary.types.empty()) {
      type = vocabulary.types[id];
    } else if (id == vocabulary.bos_id || id == vocabulary.eos_id || id == vocabulary.eot_id) {
      type = TokenType::kControl;  // a file without types still says which ids begin and end a text
    }
    const bool is_control = IsControlType(type);
    is_control_.push_back(is_control);
    if (is_control) {
      control_.Add(token, id);
      all_special_.Add(token, id);
    } else if (type == TokenType::kUserDefined) {
      user_defined_.Add(token, id);
      all_special_.Add(token, id);
      bytes_ += token;
    } else {
      // Added tokens that no file marks as such may hold other characters: these stand for themselves.
      std::string bytes;
      bytes_ += DecodeBytePiece(token, &bytes) ? bytes : token;
    }
    if (bytes_.size() > kMaxTextBytes) return absl::InvalidArgumentError("tokenizer.ggml.tokens: over 1 GiB of text");
    byte_offsets_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  std::copy_if(std::begin(ending), std::end(ending), std::back_inserter(end_ids_), [](int32_t id) { return id >= 0; });
  for (const std::string_view name : kEndNames) {
    if (const int32_t id = FindControl(name); id >= 0) end_ids_.push_back(id);
  }
  std::sort(end_ids_.begin(), end_ids_.end());
  end_ids_.erase(std::unique(end_ids_.begin(), end_ids_.end()), end_ids_.end());
  if (vocabulary.add_bos) start_ids_.push_back(vocabulary.bos_id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> BpeTokenizer::Encode(std::string_view text, bool parse_special) const {
  if (text.size() > kMaxTextBytes) return absl::InvalidArgumentError("text: over 1 GiB");
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("text: invalid UTF-8 at byte ", bad));
  }
  std::vector<int32_t> ids;
  BpeMerger::Workspace workspace;
  const auto merge = [&](std::string_view piece) { merger_.Merge(piece, &workspace, &ids); };
  const SpecialTokens& special = parse_special ? all_special_ : user_defined_;
  size_t plain = 0;  // begin of the text not encoded yet
  for (size_t pos = 0; !special.empty() && pos < text.size();) {
    const auto [id, length] = special.Match(text, pos);
    if (id < 0) {
      ++pos;
      continue;
    }
    if (absl::Status status = pre_tokenizer_->Split(text.substr(plain, pos - plain), merge); !status.ok())
      return status;
    ids.push_back(id);
    pos += length;
    plain = pos;
  }
  if (absl::Status status = pre_tokenizer_->Split(text.substr(plain), merge); !status.ok()) return status;
  return ids;
}

std::string_view BpeTokenizer::TokenBytes(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return std::string_view(bytes_).substr(byte_offsets_[id], byte_offsets_[id + 1] - byte_offsets_[id]);
}

bool BpeTokenizer::IsControl(int32_t id) const {
  CASCADE_CHECK(id >= 0 && id < vocabulary_size());
  return is_control_[id];
}

}  // namespace cascade
