// How long a constrained reply's masks take: for schemas of several kinds, the first mask of every state on the way
// through a document and the one that is remembered, over a made-up vocabulary of the size of a real one.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "engine/grammar/grammar.h"
#include "engine/text/tokenizer.h"
#include "tests/benchmarks/or_die.h"

namespace cascade {
namespace {

// All single bytes, JSON's punctuation in twos and threes, and words of a few syllables with and without a space.
class WordTokenizer final : public Tokenizer {
 public:
  explicit WordTokenizer(size_t size) {
    std::mt19937 random(1);
    for (int byte = 0; byte < 256; ++byte) tokens_.emplace_back(1, static_cast<char>(byte));
    const std::string marks = "\"{}[]:,. \n\\-'()";
    for (const char a : marks) {
      for (const char b : marks) {
        tokens_.push_back({a, b});
        for (const char c : marks) tokens_.push_back({a, b, c});
      }
    }
    for (int spaces = 4; spaces <= 128; ++spaces) tokens_.emplace_back(static_cast<size_t>(spaces), ' ');
    const char* syllables[] = {
        "an", "be",  "con", "de", "er", "fi", "ing", "ka", "lo",       "ment",         "ne",
        "o",  "pre", "re",  "st", "th", "un", "ver", "wi", "\xC3\xA9", "\xE4\xB8\xAD", "\xD0\xB4\xD0\xB0"};
    while (tokens_.size() < size) {
      std::string word = random() % 2 == 0 ? " " : "";
      for (size_t i = 1 + random() % 4; i > 0; --i) word += syllables[random() % std::size(syllables)];
      if (random() % 40 == 0) word += "\"";
      tokens_.push_back(word);
    }
  }
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view, bool) const override { return std::vector<int32_t>(); }
  std::string_view TokenBytes(int32_t id) const override { return tokens_[static_cast<size_t>(id)]; }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool IsControl(int32_t) const override { return false; }
  std::string_view TokenText(int32_t id) const override { return TokenBytes(id); }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return -1; }
  int32_t unknown_id() const override { return -1; }
  bool adds_space() const override { return false; }
  const std::vector<int32_t>& end_ids() const override { return none_; }
  const std::vector<int32_t>& start_ids() const override { return none_; }
  int32_t FindControl(std::string_view) const override { return -1; }

 private:
  std::vector<std::string> tokens_;
  std::vector<int32_t> none_;
};

double Microseconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - since).count();
}

void PrintRow(const char* name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::printf("  %-10s median %8.1f us, 95 %% %8.1f us, most %8.1f us\n", name, times[times.size() / 2],
              times[times.size() * 95 / 100], times.back());
}

void Measure(const char* name, const std::string& schema, const std::string& document, const TokenTrie& trie) {
  const auto begin = std::chrono::steady_clock::now();
  const std::shared_ptr<const Grammar> grammar = bench::OrDie(Grammar::Compile(schema));
  std::printf("%s: compiled in %.0f us\n", name, Microseconds(begin));
  std::vector<uint64_t> bits(trie.mask_words());
  for (const char* round : {"first", "known"}) {
    GrammarState state(grammar);
    std::vector<double> times;
    for (const char& byte : document) {
      const auto start = std::chrono::steady_clock::now();
      state.Allowed(trie, bits);
      times.push_back(Microseconds(start));
      if (!state.Accept(std::string_view(&byte, 1))) {
        std::fprintf(stderr, "the document does not fit, from byte %td on\n", &byte - document.data());
        std::exit(1);
      }
    }
    PrintRow(round, times);
  }
}

// Patterns that all go on with any letter: as many readings at once.
std::string ManyPatterns() {
  std::string schema = "{\"anyOf\":[";
  for (int i = 0; i < 200; ++i) {
    schema +=
        (i == 0 ? "" : ",") + std::string("{\"type\":\"string\",\"pattern\":\"^[a-z ]*") + std::to_string(i) + "$\"}";
  }
  return schema + "]}";
}

std::string ManyProperties() {
  std::string schema = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{";
  for (int i = 0; i < 500; ++i) schema += (i == 0 ? "" : ",") + std::string("\"name") + std::to_string(i) + "\":{}";
  return schema + "}}";
}

void Run() {
  for (const size_t size : {size_t{49152}, size_t{128256}}) {
    const auto begin = std::chrono::steady_clock::now();
    const TokenTrie trie{WordTokenizer(size)};
    std::printf("\n%zu tokens, %zu nodes, built in %.0f ms\n", size, trie.nodes().size(), Microseconds(begin) / 1000);
    Measure(
        "two fields",
        R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150}},
                "required":["name","age"],"additionalProperties":false})",
        R"({"name": "an entirely ordinary name", "age": 42})", trie);
    Measure("any JSON", "{}", R"({"a": [1, 2.5, {"b": null, "c": "text"}], "d": "more"})", trie);
    Measure("maxLength", R"({"type":"string","maxLength":500})", "\"" + std::string(400, 'e') + "\"", trie);
    Measure("e-mail", R"({"type":"string","format":"email"})", "\"some.body@mail.example.org\"", trie);
    Measure("500 optional properties", ManyProperties(), R"({"name7":1,"name499":[true]})", trie);
    Measure("200 patterns", ManyPatterns(), "\"some words of a reply 150\"", trie);
  }
}

}  // namespace
}  // namespace cascade

int main() {
  cascade::Run();
  return 0;
}
