// SPDX-License-Identifier: Apache-2.0
//
// The model file (*.qslim): safetensors layout, the graph as JSON in its __metadata__. docs/model_file.md
// specifies it. Every offset, extent and reference is checked before it is used: bytes that do not make a
// model throw FormatError, whatever they are.
#pragma once

#include <memory>
#include <string>

#include "qslim/core/span.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

// Maps the file; its pages are read when the weights are. Throws FormatError; InvalidArgument where the file
// cannot be opened.
Model load_model(const std::string& path);

// `owner` keeps `bytes` alive as long as the model lives.
Model parse_model(Span<const std::byte> bytes, std::shared_ptr<const void> owner);

}  // namespace qslim::runtime
