// Link: berthctl's connection to berthd, and what went wrong with it, in words and exit codes.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "berth/v1/admin.grpc.pb.h"

namespace berth::ctl {

// sysexits(3), as `berth` uses them.
inline constexpr int kUsage = 64;
inline constexpr int kUnavailable = 69;
inline constexpr int kTryAgain = 75;
inline constexpr int kNotPermitted = 77;

// Ends the command. The text is for people, without "berthctl: ".
struct Failure {
  std::string text;
  int exit_code;
};

class Link {
 public:
  // `named` is --socket; "" where it was not given: then $BERTH_CONTROL, else
  // $XDG_RUNTIME_DIR/berth/control.sock if it exists, else the system's. Throws Failure.
  explicit Link(const std::string& named);

  // One call. Throws Failure.
  template <class Request, class Reply>
  using Method = grpc::Status (v1::Admin::Stub::*)(grpc::ClientContext*, const Request&, Reply*);
  template <class Request, class Reply>
  Reply call(Method<Request, Reply> method, const Request& request) {
    grpc::ClientContext context;
    set_deadline(context);
    Reply reply;
    check((stub_.get()->*method)(&context, request, &reply));
    return reply;
  }

 private:
  static void set_deadline(grpc::ClientContext& context);
  static void check(const grpc::Status& status);

  std::unique_ptr<v1::Admin::Stub> stub_;
};

}  // namespace berth::ctl
