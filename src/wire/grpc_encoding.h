// What the header fields of a call say of how its messages are compressed (gRPC's
// PROTOCOL-HTTP2.md, "Message-Encoding"). Pure.
#pragma once

#include "base/compression.h"
#include "wire/http2_headers.h"

namespace berth::wire {

// Whether the body of a call is framed as GrpcMessages takes it apart: not that of grpc-web, whose
// content-type begins as gRPC's does.
bool has_grpc_messages(const Http2Headers& headers);

// Whether its sender may compress the messages that follow.
bool is_compressed(const Http2Headers& headers);
bool is_compressed_by(Compression compression, const Http2Headers& headers);
void set_compression(Compression compression, Http2Headers& headers);

// Whether the client of a request takes answers that are compressed so.
bool accepts(Compression compression, const Http2Headers& request);
// It is taken, too.
void add_accepted(Compression compression, Http2Headers& request);

}  // namespace berth::wire
