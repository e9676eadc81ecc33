// Folders of models that are only in memory, begun from a golden one.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "engine/model/folder_model.h"
#include "nlohmann/json.hpp"
#include "tests/engine/model/model_test_util.h"

namespace cascade {

inline std::string GoldenModels() {
  const char* folder = std::getenv("CASCADE_GOLDEN_DIR");
  CASCADE_CHECK(folder != nullptr);
  return std::string(folder) + "/models";
}

inline std::string ReadWhole(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  CASCADE_CHECK(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

// The files of a golden folder ("llama-files"), in memory as those of the folder "model".
inline MemoryFiles GoldenFolder(const std::string& name) {
  MemoryFiles files;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenModels() + "/" + name)) {
    files.contents["model/" + entry.path().filename().string()] = ReadWhole(entry.path());
  }
  CASCADE_CHECK(!files.contents.empty());
  return files;
}

// A safetensors file of this header and data.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
  return bytes.append(header).append(data);
}
inline std::string HeaderOf(std::string_view bytes) {
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof size);
  return std::string(bytes.substr(sizeof size, size));
}

// What readers pass over, some 3,000 bytes of it: damage there mostly does no harm, so that both ways are taken.
inline nlohmann::json Notes() {
  nlohmann::json notes = nlohmann::json::object();
  for (int i = 100; i < 180; ++i) notes["note " + std::to_string(i)] = "words that nobody reads " + std::to_string(i);
  return notes;
}

// The bytes that opening a folder parses: all but the data of its weights.
inline size_t ParsedBytes(const MemoryFiles& files) {
  size_t total = 0;
  for (const auto& [path, bytes] : files.contents) {
    total += path.ends_with(".safetensors") ? HeaderOf(bytes).size() : bytes.size();
  }
  return total;
}

// The most that may be held while `bytes` are parsed. Damaged files were seen to take seven times as much.
inline size_t MostHeap(size_t bytes) { return 16 * bytes + (64 << 10); }

// One to `max_damages` damages that JSON readers stumble over: flipped bits, cuts, other numbers, nesting, wrong types,
// keys that change or come twice.
inline std::string DamagedJson(std::string text, std::mt19937_64& random, int max_damages = 4) {
  constexpr std::string_view kValues[] = {"0",
                                          "-1",
                                          "1",
                                          "2",
                                          "1.5",
                                          "-0.0",
                                          "1e999",
                                          "-1e999",
                                          "NaN",
                                          "Infinity",
                                          "-Infinity",
                                          "null",
                                          "true",
                                          "false",
                                          "\"\"",
                                          "\"x\"",
                                          "[]",
                                          "{}",
                                          "[0]",
                                          "[[]]",
                                          "{\"a\":1}",
                                          "18446744073709551615",
                                          "18446744073709551616",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "4294967296",
                                          "2147483648",
                                          "1e-400",
                                          "1e308",
                                          "0x10",
                                          "\"\\u0000\"",
                                          "\"\\ud800\"",
                                          "\"../x\"",
                                          "[1,2,3,4,5,6,7,8,9,10]",
                                          "{\"rope_type\":\"yarn\"}",
                                          "100000000000000000000000000000"};
  for (uint64_t damages = 1 + random() % static_cast<uint64_t>(max_damages); damages > 0 && !text.empty(); --damages) {
    const size_t place = random() % text.size();
    switch (random() % 8) {
      case 0:
        text[place] ^= static_cast<char>(1 << (random() % 8));
        break;
      case 1:
        text[place] = static_cast<char>(random());
        break;
      case 2:
        text.resize(place);
        break;
      case 3: {  // nesting, closed or not
        const size_t depth = size_t{1} << (random() % 17);
        const std::string open = random() % 2 == 0 ? "[" : "{\"a\":";
        std::string nest;
        for (size_t i = 0; i < depth; ++i) nest += open;
        if (random() % 2 == 0) nest.append(1, '1').append(depth, open == "[" ? ']' : '}');
        text.insert(place, nest);
        break;
      }
      case 4:
      case 5: {  // another value after a colon or in an array
        const size_t start = text.find_first_of(":[", place);
        if (start == std::string::npos) break;
        const size_t end = text.find_first_of(",}]", start);
        if (end == std::string::npos) break;
        text.replace(start + 1, end - start - 1, kValues[random() % std::size(kValues)]);
        break;
      }
      case 6: {  // a digit
        const size_t digit = text.find_first_of("0123456789", place);
        if (digit != std::string::npos) text[digit] = static_cast<char>('0' + random() % 10);
        break;
      }
      default: {  // a part again, or not at all
        const size_t count = random() % 60;
        if (random() % 2 == 0) {
          text.insert(place, text.substr(random() % text.size(), count));
        } else {
          text.erase(place, count);
        }
      }
    }
  }
  return text;
}

// One line that begins with `start`, of a code that files may cause.
inline void ExpectClearError(const absl::Status& status, const std::string& start) {
  const std::string message(status.message());
  EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsDataLoss(status) || absl::IsUnimplemented(status) ||
              absl::IsNotFound(status))
      << status;
  EXPECT_EQ(message.substr(0, start.size()), start) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_LT(message.size(), 1000u) << message;
}

}  // namespace cascade
