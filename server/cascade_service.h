// The gRPC service cascade.v1.Cascade: parse, convert, call the engine. Nothing here waits on a gRPC callback thread.
#pragma once

#include "cascade/v1/cascade.grpc.pb.h"
#include "server/service_context.h"

namespace cascade {

// Every method takes raw bytes; wire.h says why.
using RawService = v1::Cascade::WithRawCallbackMethod_Generate<v1::Cascade::WithRawCallbackMethod_Score<
    v1::Cascade::WithRawCallbackMethod_ResumeTurn<v1::Cascade::WithRawCallbackMethod_CreateSession<
        v1::Cascade::WithRawCallbackMethod_GetSession<v1::Cascade::WithRawCallbackMethod_ListSessions<
            v1::Cascade::WithRawCallbackMethod_DeleteSession<v1::Cascade::WithRawCallbackMethod_ForkSession<
                v1::Cascade::WithRawCallbackMethod_ParkSession<v1::Cascade::WithRawCallbackMethod_RewindSession<
                    v1::Cascade::WithRawCallbackMethod_ExportSession<v1::Cascade::WithRawCallbackMethod_ImportSession<
                        v1::Cascade::WithRawCallbackMethod_InspectSession<
                            v1::Cascade::WithRawCallbackMethod_Tokenize<v1::Cascade::WithRawCallbackMethod_Detokenize<
                                v1::Cascade::WithRawCallbackMethod_ApplyChatTemplate<
                                    v1::Cascade::WithRawCallbackMethod_GetServerInfo<
                                        v1::Cascade::Service>>>>>>>>>>>>>>>>>;

// Called by gRPC's threads.
class CascadeService final : public RawService {
 public:
  using Call = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;
  using Unary = grpc::ServerUnaryReactor;
  using Stream = grpc::ServerWriteReactor<grpc::ByteBuffer>;
  using Reader = grpc::ServerReadReactor<grpc::ByteBuffer>;

  explicit CascadeService(ServiceContext context) : context_(std::move(context)) {}

  Stream* Generate(Call* call, const Bytes* request) override;
  Stream* Score(Call* call, const Bytes* request) override;
  Stream* ResumeTurn(Call* call, const Bytes* request) override;
  Stream* ExportSession(Call* call, const Bytes* request) override;
  Reader* ImportSession(Call* call, Bytes* response) override;
  Stream* InspectSession(Call* call, const Bytes* request) override;

  Unary* CreateSession(Call* call, const Bytes* request, Bytes* response) override;
  Unary* GetSession(Call* call, const Bytes* request, Bytes* response) override;
  Unary* ListSessions(Call* call, const Bytes* request, Bytes* response) override;
  Unary* DeleteSession(Call* call, const Bytes* request, Bytes* response) override;
  Unary* ForkSession(Call* call, const Bytes* request, Bytes* response) override;
  Unary* ParkSession(Call* call, const Bytes* request, Bytes* response) override;
  Unary* RewindSession(Call* call, const Bytes* request, Bytes* response) override;
  Unary* Tokenize(Call* call, const Bytes* request, Bytes* response) override;
  Unary* Detokenize(Call* call, const Bytes* request, Bytes* response) override;
  Unary* ApplyChatTemplate(Call* call, const Bytes* request, Bytes* response) override;
  Unary* GetServerInfo(Call* call, const Bytes* request, Bytes* response) override;

 private:
  ServiceContext context_;
};

}  // namespace cascade
