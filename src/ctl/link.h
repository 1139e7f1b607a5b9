// Link: berthctl's connection to berthd. What goes wrong is told in words that stand alone, and in
// a code that says how the command exits.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "berth/v1/admin.grpc.pb.h"

namespace berth::ctl {

using Stub = v1::Admin::Stub;

// sysexits(3), as `berth` uses them: 64 usage, 69 unavailable, 75 try again, 77 not permitted, 78
// wrong configuration.
int exit_code_of(const absl::Status& status);

class Link {
 public:
  // `named` is --socket; "" where it was not given: then $BERTH_CONTROL, else
  // $XDG_RUNTIME_DIR/berth/control.sock if it exists, else the system's.
  static absl::StatusOr<Link> open(const std::string& named);

  // How long an answer may take: from memory, or until something has happened in the daemon.
  enum class Answer { prompt, late };

  template <class Request, class Reply>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Reply*);
  template <class Request, class Reply>
  absl::StatusOr<Reply> call(Method<Request, Reply> method, const Request& request,
                             Answer answer = Answer::prompt) {
    grpc::ClientContext context;
    if (answer == Answer::prompt) set_deadline(context);
    Reply reply;
    const absl::Status status = status_of((stub_.get()->*method)(&context, request, &reply));
    if (!status.ok()) return status;
    return reply;
  }

  // Calls `each` for each event until the stream ends; false ends it.
  absl::Status watch(const v1::WatchRequest& request,
                     const std::function<bool(const v1::Event&)>& each);

 private:
  explicit Link(std::unique_ptr<Stub> stub) : stub_(std::move(stub)) {}

  static void set_deadline(grpc::ClientContext& context);
  static absl::Status status_of(const grpc::Status& status);

  std::unique_ptr<Stub> stub_;
};

}  // namespace berth::ctl
