#include "server/http/chat_page.h"

#include <string>

#include "server/http/page_files.h"

namespace cascade {
namespace {

constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

void AddFile(Router& router, const char* path, const char* media_type, std::string_view content) {
  router.Add("GET", path, [media_type, content](const std::shared_ptr<HttpExchange>& exchange, const std::string&) {
    HttpResponse response;
    response.media_type = media_type;
    response.body = std::string(content);
    response.headers = {{"Content-Security-Policy", kPolicy},
                        {"Referrer-Policy", "no-referrer"},
                        {"Cross-Origin-Opener-Policy", "same-origin"},
                        // The next server may bring another page.
                        {"Cache-Control", "no-cache"}};
    exchange->Send(std::move(response));
  });
}

}  // namespace

void AddChatPage(Router& router) {
  AddFile(router, "/", "text/html; charset=utf-8", kPageIndexHtml);
  AddFile(router, "/page/style.css", "text/css; charset=utf-8", kPageStyleCss);
  AddFile(router, "/page/memory.js", "text/javascript; charset=utf-8", kPageMemoryJs);
  AddFile(router, "/page/chat.js", "text/javascript; charset=utf-8", kPageChatJs);
  AddFile(router, "/page/icon.svg", "image/svg+xml", kPageIconSvg);
}

}  // namespace cascade
