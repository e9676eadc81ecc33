#include "client/inspect.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "client/format.h"
#include "client/history_picture.h"
#include "client/terminal.h"

namespace cascade::client {
namespace {

// The names of the parts stand left of the bars.
constexpr int kMarginColumns = 14;

std::string Heading(const v1::Session& session, int64_t position, size_t layers, size_t heads) {
  std::string text = "session " + session.session_id() + (session.label().empty() ? "" : " (" + session.label() + ")") +
                     ", " + WithCommas(position) + " tokens long\n";
  if (layers * heads > 1) {
    text += "average of " + std::to_string(layers) + " layers, " + std::to_string(heads) + " heads each\n";
  }
  return text + "\n";
}

}  // namespace

grpc::Status DrawSession(Client& client, const std::string& session_id, const InspectOptions& options,
                         std::string* picture) {
  v1::Session session;
  if (grpc::Status status = client.GetSession(session_id, &session); !status.ok()) return status;
  v1::InspectSessionRequest request;
  request.set_session_id(session.session_id());
  if (options.layer) request.add_layers(*options.layer);
  if (options.head) request.add_kv_heads(*options.head);

  HistoryPicture::Options drawing;
  drawing.columns = std::clamp(TerminalColumns(STDOUT_FILENO, 100) - kMarginColumns, 20, 120);
  drawing.ascii = options.ascii;
  drawing.colour = WantsColour(STDOUT_FILENO);
  const int num_sub_caches = session.geometry().sub_cache_tokens_size();

  // The first pass of a zoom only finds where the picture begins: keeping what a pass says would take gigabytes for the
  // largest caches.
  for (int passes_left = options.zoom ? 2 : 1;; --passes_left) {
    std::optional<HistoryPicture> history;
    std::set<int> layers, heads;
    int64_t position = session.position();
    const std::unique_ptr<InspectStream> stream = client.InspectSession(request);
    for (v1::InspectSessionResponse head; stream->Next(&head);) {
      if (!history) history.emplace(position = head.position(), num_sub_caches, drawing);
      history->AddHead({head.token_indices().data(), static_cast<size_t>(head.token_indices_size())},
                       {head.sub_caches().data(), static_cast<size_t>(head.sub_caches_size())});
      layers.insert(head.layer());
      heads.insert(head.kv_head());
    }
    if (grpc::Status status = stream->Finish(); !status.ok()) return status;
    if (!history) history.emplace(position, num_sub_caches, drawing);
    if (passes_left == 1) {
      *picture = Heading(session, position, layers.size(), heads.size()) + history->Draw();
      return grpc::Status::OK;
    }
    drawing.first_token = history->OldestHeld();
  }
}

}  // namespace cascade::client
