// No abseil here, and none of our headers that include it: the library brings stand-ins for parts of it.
#include "engine/text/sentencepiece_library.h"

#include <algorithm>
#include <array>
#include <exception>
#include <unordered_set>
#include <utility>

#include "engine/text/utf8.h"
#include "model_factory.h"
#include "model_interface.h"
#include "normalizer.h"
#include "sentencepiece_model.pb.h"

namespace cascade {
namespace {

using sentencepiece::ModelProto;
using Piece = ModelProto::SentencePiece;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
// BPE needs about 80 bytes of memory per byte of text and slows down when it leaves the processor's caches, so that
// long texts go through it in parts of about this size.
constexpr size_t kPartBytes = size_t{1} << 13;

bool IsMerged(const Piece& piece) {
  return piece.type() == Piece::NORMAL || piece.type() == Piece::USER_DEFINED || piece.type() == Piece::UNUSED;
}

// Pairs of characters that stand side by side in a piece. Between any other two, a text can be cut: no merge reaches
// over.
class Neighbours {
 public:
  void Add(std::string_view piece) {
    size_t pos = 0;
    for (char32_t left = NextCodePoint(piece, &pos); pos < piece.size();) {
      const char32_t right = NextCodePoint(piece, &pos);
      pairs_.insert(Key(left, right));
      left = right;
    }
  }

  // The first such place from `pos` on, where a character begins; the text's end if there is none.
  size_t FindCut(std::string_view text, size_t pos) const {
    char32_t left = NextCodePoint(text, &pos);
    while (pos < text.size()) {
      const size_t place = pos;
      const char32_t right = NextCodePoint(text, &pos);
      if (pairs_.count(Key(left, right)) == 0) return place;
      left = right;
    }
    return text.size();
  }

 private:
  static uint64_t Key(char32_t left, char32_t right) { return static_cast<uint64_t>(left) << 32 | right; }

  std::unordered_set<uint64_t> pairs_;
};

}  // namespace

struct SentencePieceLibrary::Impl {
  void Append(const sentencepiece::EncodeResult& pieces, bool* after_unknown, std::vector<int32_t>* ids) const;

  ModelProto proto;
  sentencepiece::NormalizerSpec bare_spec;  // as the model's, without the space before the text
  std::unique_ptr<sentencepiece::ModelInterface> model;
  std::unique_ptr<sentencepiece::normalizer::Normalizer> with_space;
  std::unique_ptr<sentencepiece::normalizer::Normalizer> bare;
  bool is_identity = false;  // the normalizer changes nothing but spaces
  bool is_bpe = false;
  Neighbours neighbours;  // BPE
  int32_t unknown_id = -1;
  bool byte_fallback = false;
  std::array<int32_t, 256> byte_ids = {};
};

SentencePieceLibrary::SentencePieceLibrary(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceLibrary::~SentencePieceLibrary() = default;

std::unique_ptr<SentencePieceLibrary> SentencePieceLibrary::Load(const std::string& serialized, std::string* error) {
  const auto refuse = [&](std::string_view why) {
    *error = why;
    return nullptr;
  };
  try {
    auto impl = std::make_unique<Impl>();
    ModelProto& proto = impl->proto;
    if (!proto.ParseFromString(serialized)) return refuse("not a model");
    proto.mutable_normalizer_spec()->set_add_dummy_prefix(true);
    impl->bare_spec = proto.normalizer_spec();
    impl->bare_spec.set_add_dummy_prefix(false);
    impl->model = sentencepiece::ModelFactory::Create(proto);
    if (impl->model == nullptr) return refuse("a type of model that it does not know");
    if (!impl->model->status().ok()) return refuse(impl->model->status().message());
    using sentencepiece::normalizer::Normalizer;
    impl->with_space = std::make_unique<Normalizer>(proto.normalizer_spec(), proto.trainer_spec());
    impl->bare = std::make_unique<Normalizer>(impl->bare_spec, proto.trainer_spec());
    for (Normalizer* normalizer : {impl->with_space.get(), impl->bare.get()}) {
      if (!normalizer->status().ok()) return refuse(normalizer->status().message());
      normalizer->SetPrefixMatcher(impl->model->prefix_matcher());
    }
    const sentencepiece::NormalizerSpec& spec = proto.normalizer_spec();
    impl->is_identity =
        spec.precompiled_charsmap().empty() && !spec.remove_extra_whitespaces() && spec.escape_whitespaces();
    impl->is_bpe = proto.trainer_spec().model_type() == sentencepiece::TrainerSpec::BPE;
    impl->byte_fallback = proto.trainer_spec().byte_fallback();
    for (int id = 0; id < proto.pieces_size(); ++id) {
      const Piece& piece = proto.pieces(id);
      if (piece.type() == Piece::UNKNOWN) impl->unknown_id = id;
      if (piece.type() == Piece::BYTE) impl->byte_ids[sentencepiece::PieceToByte(piece.piece())] = id;
      if (impl->is_bpe && IsMerged(piece)) impl->neighbours.Add(piece.piece());
    }
    return std::unique_ptr<SentencePieceLibrary>(new SentencePieceLibrary(std::move(impl)));
  } catch (const std::exception& exception) {  // its trie, or memory
    return refuse(exception.what());
  }
}

bool SentencePieceLibrary::Normalize(std::string_view text, bool add_space, std::string* normalized) const {
  normalized->clear();
  try {
    if (!impl_->is_identity) {
      *normalized = (add_space ? impl_->with_space : impl_->bare)->Normalize(text);
      return true;
    }
    // The same as the library does, which needs 24 bytes of memory for each of the text.
    if (text.empty()) return true;
    const size_t spaces = static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) + (add_space ? 1 : 0);
    normalized->reserve(text.size() + spaces * kSpace.size());
    if (add_space) *normalized += kSpace;
    for (size_t pos = 0; pos < text.size();) {
      const size_t space = std::min(text.find(' ', pos), text.size());
      normalized->append(text, pos, space - pos);
      if (space < text.size()) *normalized += kSpace;
      pos = space + 1;
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

bool SentencePieceLibrary::Encode(std::string_view normalized, std::vector<int32_t>* ids) const {
  try {
    bool after_unknown = false;
    while (!normalized.empty()) {
      size_t end = normalized.size();
      if (impl_->is_bpe && end > kPartBytes) {
        size_t begin = kPartBytes;
        while ((static_cast<uint8_t>(normalized[begin]) & 0xC0) == 0x80) --begin;
        end = impl_->neighbours.FindCut(normalized, begin);
      }
      impl_->Append(impl_->model->Encode(normalized.substr(0, end)), &after_unknown, ids);
      normalized.remove_prefix(end);
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// As SentencePieceProcessor does: what has no piece becomes bytes, or one unknown id for all of a run.
void SentencePieceLibrary::Impl::Append(const sentencepiece::EncodeResult& pieces, bool* after_unknown,
                                        std::vector<int32_t>* ids) const {
  for (const auto& [text, found] : pieces) {
    // BPE looks up a character that nothing was merged with among all pieces; a control piece of one character is none.
    const bool is_unknown = found == unknown_id || model->IsControl(found);
    if (!is_unknown) {
      ids->push_back(found);
    } else if (byte_fallback) {
      for (const char byte : text) ids->push_back(byte_ids[static_cast<uint8_t>(byte)]);
    } else if (!*after_unknown) {
      ids->push_back(unknown_id);
    }
    *after_unknown = is_unknown;
  }
}

}  // namespace cascade
