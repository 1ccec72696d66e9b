/* SPDX-License-Identifier: Apache-2.0
 *
 * qslim's engine for C, and for whatever calls C: a .qslim model is opened, asked for shapes, run and closed.
 *
 *   qslim_session* session;
 *   if (qslim_open("model.qslim", NULL, &session) != QSLIM_OK) {
 *     fprintf(stderr, "%s\n", qslim_last_error());
 *     return 1;
 *   }
 *   qslim_tensor x = {image, QSLIM_FLOAT32, 4, {1, 3, 224, 224}}, y;
 *   qslim_output_shapes(session, &x, 1, &y, 1);
 *   y.data = malloc(qslim_tensor_bytes(&y));
 *   qslim_run(session, &x, 1, &y, 1);
 *   qslim_close(session);
 *
 * Arrays are row-major and belong to the caller. Every call that can fail returns a status, leaves its results
 * untouched if it is not QSLIM_OK, and a sentence for qslim_last_error(). A session may be used by several
 * threads at once, but for qslim_close. The functions and structs here keep their names, order and meaning
 * within a minor version.
 */
#ifndef QSLIM_C_API_QSLIM_H_
#define QSLIM_C_API_QSLIM_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QSLIM_C_EXPORT __attribute__((visibility("default")))
#else
#define QSLIM_C_EXPORT
#endif

/* Of one tensor. */
#define QSLIM_MAX_RANK 16
/* An extent that the model leaves open. */
#define QSLIM_OPEN (-1)

typedef enum qslim_status {
  QSLIM_OK = 0,
  QSLIM_INVALID_ARGUMENT = 1, /* the call or the model cannot work, or memory is short */
  QSLIM_FORMAT_ERROR = 2      /* the bytes are no model */
} qslim_status;

typedef enum qslim_dtype {
  QSLIM_FLOAT32 = 0,
  QSLIM_INT8 = 1,
  QSLIM_UINT8 = 2,
  QSLIM_INT32 = 3,
  QSLIM_INT64 = 4,
  QSLIM_BOOL = 5
} qslim_dtype;

typedef struct qslim_tensor {
  void* data; /* an input's is read, an output's is written */
  qslim_dtype dtype;
  size_t rank;
  int64_t dims[QSLIM_MAX_RANK];
} qslim_tensor;

/* Zero means the default. */
typedef struct qslim_options {
  size_t num_threads; /* 1 */
  size_t max_memory;  /* bytes of weights, activations and scratch: 8 GiB */
  const char* isa;    /* "scalar", "avx2", ...; the best one of this machine that QSLIM_ISA allows */
} qslim_options;

typedef struct qslim_session qslim_session;

/* Return the version, "0.1.0". */
QSLIM_C_EXPORT const char* qslim_version(void);

/* Return what went wrong in this thread's last call that failed; "" if none has. It stays until the next one. */
QSLIM_C_EXPORT const char* qslim_last_error(void);

/* Open the model in a file. options may be NULL. */
QSLIM_C_EXPORT qslim_status qslim_open(const char* path, const qslim_options* options,
                                       qslim_session** session);

/* Open a model that lies in memory, of which a copy is made. */
QSLIM_C_EXPORT qslim_status qslim_open_bytes(const void* bytes, size_t count, const qslim_options* options,
                                             qslim_session** session);

/* Free a session, which no thread may use any more; NULL is no session. */
QSLIM_C_EXPORT void qslim_close(qslim_session* session);

QSLIM_C_EXPORT size_t qslim_num_inputs(const qslim_session* session);
QSLIM_C_EXPORT size_t qslim_num_outputs(const qslim_session* session);

/* Return a name, which lives as long as the session; NULL if there is no input or output of that number. */
QSLIM_C_EXPORT const char* qslim_input_name(const qslim_session* session, size_t index);
QSLIM_C_EXPORT const char* qslim_output_name(const qslim_session* session, size_t index);

/* Describe an input or output as the model declares it: extents that it leaves open are QSLIM_OPEN, data is NULL.
 * An unknown rank is an error. */
QSLIM_C_EXPORT qslim_status qslim_input_info(const qslim_session* session, size_t index, qslim_tensor* info);
QSLIM_C_EXPORT qslim_status qslim_output_info(const qslim_session* session, size_t index, qslim_tensor* info);

/* Return the bytes of a tensor; 0 if an extent is 0, open or too large. */
QSLIM_C_EXPORT size_t qslim_tensor_bytes(const qslim_tensor* tensor);

/* Set dtype, rank and dims of all outputs for inputs of those extents; data of neither is looked at. */
QSLIM_C_EXPORT qslim_status qslim_output_shapes(const qslim_session* session, const qslim_tensor* inputs,
                                                size_t num_inputs, qslim_tensor* outputs, size_t num_outputs);

/* Run the model. Each output has the extents that qslim_output_shapes gives, and room for them. */
QSLIM_C_EXPORT qslim_status qslim_run(const qslim_session* session, const qslim_tensor* inputs,
                                      size_t num_inputs, qslim_tensor* outputs, size_t num_outputs);

#ifdef __cplusplus
}
#endif

#endif /* QSLIM_C_API_QSLIM_H_ */
