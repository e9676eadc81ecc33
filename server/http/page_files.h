// The files of server/http/page, by their names. Made by embed_page.cmake when they change.
#pragma once

#include <string_view>

namespace cascade {

extern const std::string_view kPageIndexHtml, kPageStyleCss, kPageMemoryJs, kPageChatJs, kPageIconSvg;

}  // namespace cascade
