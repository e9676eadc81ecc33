#include "engine/grammar/key_tracker.h"

#include <algorithm>

namespace cascade::grammar {
namespace {

constexpr uint64_t kEmptyHash = 0xCBF29CE484222325;

// A step of the multiplication of FNV, and a shift so that all bits take part.
uint64_t Mix(uint64_t hash, uint8_t byte) {
  hash = (hash ^ byte) * 0x9E3779B97F4A7C15;
  return hash ^ (hash >> 29);
}

}  // namespace

bool KeyTracker::Add(uint8_t byte) {
  switch (in_) {
    case In::kString:
      if (byte == '\\') in_ = In::kStringEscape;
      if (byte == '"') in_ = In::kValue;
      return true;
    case In::kStringEscape:
      in_ = In::kString;
      return true;
    case In::kKeyEscape:
      in_ = In::kKey;
      hash_ = Mix(hash_, byte);
      return true;
    case In::kKey: {
      if (byte != '"') {
        if (byte == '\\') in_ = In::kKeyEscape;
        hash_ = Mix(hash_, byte);
        return true;
      }
      in_ = In::kValue;
      key_is_next_ = false;
      std::vector<uint64_t>& keys = open_.back().keys;
      const auto place = std::lower_bound(keys.begin(), keys.end(), hash_);
      if (place != keys.end() && *place == hash_) return false;
      keys.insert(place, hash_);
      return true;
    }
    case In::kValue:
      break;
  }
  switch (byte) {
    case '"':
      in_ = key_is_next_ ? In::kKey : In::kString;
      hash_ = kEmptyHash;
      break;
    case '{':
      open_.push_back({true, {}});
      key_is_next_ = true;
      break;
    case '[':
      open_.push_back({false, {}});
      key_is_next_ = false;
      break;
    case '}':
    case ']':
      if (!open_.empty()) open_.pop_back();
      key_is_next_ = false;
      break;
    case ',':
      key_is_next_ = !open_.empty() && open_.back().is_object;
      break;
    default:
      break;
  }
  return true;
}

bool KeyTracker::Allows(std::string_view bytes) const {
  // Most tokens end one key at most and open nothing: their key's hash is all that is to be found.
  KeyTracker light;  // without the containers that are open
  light.in_ = in_;
  light.key_is_next_ = key_is_next_;
  light.hash_ = hash_;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    if (light.open_.empty()) {
      const bool ends_key = light.in_ == In::kKey && byte == '"';
      if (ends_key) {
        const std::vector<uint64_t>& keys = open_.back().keys;
        if (std::binary_search(keys.begin(), keys.end(), light.hash_)) return false;
      }
      const bool closes = light.in_ == In::kValue && (byte == '}' || byte == ']');
      const bool comma = light.in_ == In::kValue && byte == ',';
      if (ends_key || closes || comma) {
        // A second key of the same object, or one of an object around it: rare enough for a copy.
        if (bytes.find('"', i + 1) == std::string_view::npos) return true;
        KeyTracker copy = *this;
        return std::all_of(bytes.begin(), bytes.end(), [&](char c) { return copy.Add(static_cast<uint8_t>(c)); });
      }
    }
    if (!light.Add(byte)) return false;
  }
  return true;
}

}  // namespace cascade::grammar
