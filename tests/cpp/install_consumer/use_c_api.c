/* SPDX-License-Identifier: Apache-2.0
 *
 * use_c_api MODEL: the C interface from a C program. The model multiplies the sum of four numbers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qslim/c_api/qslim.h"

#define CHECK(condition)                                                               \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, qslim_last_error()); \
      return 1;                                                                        \
    }                                                                                  \
  } while (0)

static int run(const qslim_session* session) {
  float values[4] = {1, 2, 3, 4};
  qslim_tensor x = {values, QSLIM_FLOAT32, 2, {1, 4}}, y, info;
  size_t bytes;
  CHECK(qslim_num_inputs(session) == 1 && qslim_num_outputs(session) == 1);
  CHECK(qslim_input_name(session, 0) != NULL && qslim_input_name(session, 1) == NULL);
  CHECK(qslim_output_name(session, 0) != NULL);
  CHECK(qslim_input_info(session, 0, &info) == QSLIM_OK && info.rank == 2 && info.dims[1] == 4);
  CHECK(qslim_input_info(session, 0, &info) == QSLIM_OK && info.dtype == QSLIM_FLOAT32 && info.data == NULL);
  CHECK(qslim_output_info(session, 0, &info) == QSLIM_INVALID_ARGUMENT);
  CHECK(strstr(qslim_last_error(), "rank") != NULL); /* which the example's file does not say */
  CHECK(qslim_output_info(session, 1, &info) == QSLIM_INVALID_ARGUMENT);
  CHECK(qslim_output_shapes(session, &x, 1, &y, 1) == QSLIM_OK);
  CHECK(y.rank == 2 && y.dims[0] == 1 && y.dims[1] == 250);
  bytes = qslim_tensor_bytes(&y);
  CHECK(bytes == 250 * sizeof(float));
  y.data = malloc(bytes);
  CHECK(qslim_run(session, &x, 1, &y, 1) == QSLIM_OK);
  CHECK(((float*)y.data)[100] == 250.0f);
  x.dims[1] = 5;
  CHECK(qslim_run(session, &x, 1, &y, 1) == QSLIM_INVALID_ARGUMENT);
  CHECK(strstr(qslim_last_error(), "shape") != NULL);
  x.dims[1] = 4;
  x.dtype = QSLIM_INT64;
  CHECK(qslim_run(session, &x, 1, &y, 1) == QSLIM_INVALID_ARGUMENT);
  x.dtype = QSLIM_FLOAT32;
  y.dims[1] = 249;
  CHECK(qslim_run(session, &x, 1, &y, 1) == QSLIM_INVALID_ARGUMENT);
  CHECK(qslim_run(session, &x, 2, &y, 1) == QSLIM_INVALID_ARGUMENT);
  CHECK(qslim_run(session, NULL, 1, &y, 1) == QSLIM_INVALID_ARGUMENT);
  CHECK(qslim_run(NULL, &x, 1, &y, 1) == QSLIM_INVALID_ARGUMENT);
  free(y.data);
  return 0;
}

int main(int argc, char** argv) {
  qslim_options options = {2, 0, "scalar"};
  qslim_session* session = NULL;
  int result;
  if (argc != 2) return 2;
  CHECK(strcmp(qslim_version(), QSLIM_EXPECTED_VERSION) == 0);
  CHECK(qslim_open("nothing.qslim", NULL, &session) == QSLIM_INVALID_ARGUMENT && session == NULL);
  CHECK(qslim_open_bytes("no model", 8, NULL, &session) == QSLIM_FORMAT_ERROR && session == NULL);
  CHECK(strlen(qslim_last_error()) > 0);
  CHECK(qslim_open(argv[1], NULL, &session) == QSLIM_OK);
  result = run(session);
  qslim_close(session);
  CHECK(qslim_open(argv[1], &options, &session) == QSLIM_OK);
  result += run(session);
  qslim_close(session);
  options.isa = "z80";
  CHECK(qslim_open(argv[1], &options, &session) == QSLIM_INVALID_ARGUMENT);
  qslim_close(NULL);
  return result;
}
