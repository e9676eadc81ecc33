// Text without a turn: what Tokenize, Detokenize and ApplyChatTemplate do. Any thread.
#pragma once

#include "absl/status/status.h"
#include "cascade/v1/cascade.pb.h"
#include "server/service_context.h"

namespace cascade {

// Texts, in and out, are bounded by --max-prompt-bytes. INVALID_ARGUMENT names the field.
absl::Status RunTokenize(const ServiceContext& context, const v1::TokenizeRequest& request,
                         v1::TokenizeResponse* response);
absl::Status RunDetokenize(const ServiceContext& context, const v1::DetokenizeRequest& request,
                           v1::DetokenizeResponse* response);
// FAILED_PRECONDITION when there is no template.
absl::Status RunApplyChatTemplate(const ServiceContext& context, v1::ApplyChatTemplateRequest& request,
                                  v1::ApplyChatTemplateResponse* response);

}  // namespace cascade
