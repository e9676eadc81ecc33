#include "client/logprob_table.h"

#include <cmath>
#include <map>

#include "client/format.h"
#include "client/table.h"
#include "client/utf8.h"

namespace cascade::client {
namespace {

// Texts of tokens, each asked for once.
class TokenTexts {
 public:
  explicit TokenTexts(Client& client) : client_(client) {}
  // In quotes, on one line.
  std::string Of(int32_t id) {
    const auto known = texts_.find(id);
    if (known != texts_.end()) return known->second;
    v1::DetokenizeRequest request;
    request.add_token_ids(id);
    v1::DetokenizeResponse response;
    if (reachable_) reachable_ = client_.Detokenize(request, &response).ok();
    std::string text = "\"";
    for (const char c : response.text()) {
      if (c == '\n') {
        text += "\\n";
      } else if (c == '"' || c == '\\') {
        text += std::string("\\") + c;
      } else {
        text += c;
      }
    }
    return texts_[id] = reachable_ ? WithoutControls(text) + "\"" : "";
  }

 private:
  Client& client_;
  std::map<int32_t, std::string> texts_;
  bool reachable_ = true;
};

std::string Percent(float logprob) { return Fixed(100 * std::exp(static_cast<double>(logprob)), 1) + " %"; }

}  // namespace

std::string DrawLogprobs(Client& client, const std::vector<v1::TokenLogprobs>& tokens) {
  TokenTexts texts(client);
  Table table({Align::kRight, Align::kLeft, Align::kRight, Align::kRight, Align::kLeft});
  table.AddRow({"id", "token", "logprob", "", "most probable"});
  for (const v1::TokenLogprobs& token : tokens) {
    std::string top;
    for (const v1::TokenLogprob& other : token.top()) {
      const std::string text = texts.Of(other.token_id());
      top += (top.empty() ? "" : ", ") + (text.empty() ? std::to_string(other.token_id()) : text) + " " +
             Percent(other.logprob());
    }
    table.AddRow({std::to_string(token.token_id()), texts.Of(token.token_id()), Fixed(token.logprob(), 3),
                  Percent(token.logprob()), top});
  }
  return table.Draw();
}

}  // namespace cascade::client
