#pragma once

#include "server/http/router.h"

namespace cascade {

// GET / and what that page loads (server/http/page), which is part of the program. The page may load nothing else.
void AddChatPage(Router& router);

}  // namespace cascade
