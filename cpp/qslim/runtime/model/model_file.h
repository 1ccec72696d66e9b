// SPDX-License-Identifier: Apache-2.0
//
// The model file (*.qslim): safetensors layout, the graph as JSON in its __metadata__. docs/engine.md
// specifies it. Every offset, extent and reference is checked before it is used: bytes that are no
// model throw FormatError.
#pragma once

#include <memory>
#include <string>

#include "qslim/core/span.h"
#include "qslim/runtime/model/model.h"

namespace qslim::runtime {

// Map the file; its pages are read when the weights are. Throw FormatError if it is no model, InvalidArgument
// if it cannot be opened.
Model load_model(const std::string& path);

// Read a model from bytes; `owner` keeps them alive as long as the model exists.
Model parse_model(Span<const std::byte> bytes, std::shared_ptr<const void> owner);

}  // namespace qslim::runtime
