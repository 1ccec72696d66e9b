// SPDX-License-Identifier: Apache-2.0
//
// Docstrings of the kernels' functions. pybind11 puts the signature before each.
#pragma once

namespace qslim::python::doc {

// Arguments that several functions share.
#define QSLIM_DOC_X "x : ndarray of float32, any shape, C-contiguous\n"
#define QSLIM_DOC_GRAD \
  "grad : ndarray of float32, the shape of x\n    Gradient of the loss with respect to the result.\n"
#define QSLIM_DOC_SCALE                                                   \
  "scale : float or ndarray of float32 of shape (x.shape[quant_axis],)\n" \
  "    Real value of one integer step; in [2**-126, 2**126].\n"           \
  "zero_point : int or ndarray of int32, as scale\n"                      \
  "    The integer that stands for 0.0; in [qmin, qmax].\n"
#define QSLIM_DOC_RANGE "qmin, qmax : int\n    The least and the largest integer, qmin < qmax.\n"
#define QSLIM_DOC_AXIS                       \
  "quant_axis : int or None, default=None\n" \
  "    The axis of the channels; None: one channel, the whole tensor.\n"
#define QSLIM_DOC_ROUNDING "rounding : {'ties_to_even', 'ties_away'}, default='ties_to_even'\n"
#define QSLIM_DOC_OUT                                                                                        \
  "out : ndarray or None, default=None\n"                                                                    \
  "    Written and returned, if given: of the shape and dtype of the result, an input itself or apart from " \
  "it.\n"
#define QSLIM_DOC_CONTEXT                     \
  "context : Context or None, default=None\n" \
  "    None: one thread, the best instruction set that QSLIM_ISA allows.\n"
#define QSLIM_DOC_ARRAY_ERRORS                            \
  "TypeError : an array of another dtype, or no array.\n" \
  "ValueError : an array that is not C-contiguous; arguments outside of the ranges above.\n"

inline constexpr char kFakeQuant[] =
    "Quantize x to integers and dequantize it again.\n"
    "\n"
    "y = (q - zero_point) * scale, q = clamp(round(x * (1 / scale)) + zero_point, qmin, qmax).\n"
    "\n"
    "Parameters\n"
    "----------\n" QSLIM_DOC_X QSLIM_DOC_SCALE QSLIM_DOC_RANGE QSLIM_DOC_AXIS QSLIM_DOC_ROUNDING
        QSLIM_DOC_OUT QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "ndarray of float32, the shape of x. NaN stays NaN.\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

inline constexpr char kFakeQuantBackward[] =
    "Return the gradient of fake_quant with respect to x.\n"
    "\n"
    "Parameters\n"
    "----------\n" QSLIM_DOC_X QSLIM_DOC_GRAD QSLIM_DOC_SCALE QSLIM_DOC_RANGE QSLIM_DOC_AXIS
    "gradient : {'clipped', 'straight_through'}, default='clipped'\n"
    "    'clipped': grad where x was not clipped, else 0. 'straight_through': grad.\n" QSLIM_DOC_ROUNDING
        QSLIM_DOC_OUT QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "ndarray of float32, the shape of x.\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

inline constexpr char kPactBackward[] =
    "Return the gradients of clamp(x, -threshold, threshold), the quantizer of PACT.\n"
    "\n"
    "Parameters\n"
    "----------\n" QSLIM_DOC_X QSLIM_DOC_GRAD
    "threshold : float or ndarray of float32 of shape (x.shape[quant_axis],)\n"
    "    The largest magnitude kept; finite and >= 0.\n"
    "is_unsigned : bool, default=False\n"
    "    Clamp to [0, threshold] instead.\n" QSLIM_DOC_AXIS QSLIM_DOC_OUT QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "dx : ndarray of float32, the shape of x\n"
    "dthreshold : float, or ndarray of float64 of one per channel with quant_axis\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

inline constexpr char kLsqBackward[] =
    "Return the gradients of fake_quant with a learned scale and offset (LSQ+), ties to even.\n"
    "\n"
    "Parameters\n"
    "----------\n" QSLIM_DOC_X QSLIM_DOC_GRAD QSLIM_DOC_SCALE QSLIM_DOC_RANGE QSLIM_DOC_AXIS
        QSLIM_DOC_OUT QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "dx : ndarray of float32, the shape of x\n"
    "dscale, doffset : floats, or ndarrays of float64 of one per channel with quant_axis\n"
    "    The offset is in real units, subtracted before fake_quant and added behind it.\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

inline constexpr char kQuantize[] =
    "Quantize x: q = clamp(round(x * (1 / scale)) + zero_point, qmin, qmax).\n"
    "\n"
    "Parameters\n"
    "----------\n" QSLIM_DOC_X QSLIM_DOC_SCALE QSLIM_DOC_RANGE QSLIM_DOC_AXIS QSLIM_DOC_ROUNDING
        QSLIM_DOC_OUT QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "ndarray of int8 if qmin < 0, else of uint8, the shape of x. NaN gives qmin.\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

inline constexpr char kDequantize[] =
    "Dequantize q: y = (q - zero_point) * scale.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "q : ndarray of int8 or uint8, any shape, C-contiguous\n"
    "scale : float or ndarray of float32 of shape (q.shape[quant_axis],)\n"
    "    Real value of one integer step; in [2**-126, 2**126].\n"
    "zero_point : int or ndarray of int32, as scale\n"
    "    The integer that stands for 0.0.\n" QSLIM_DOC_AXIS QSLIM_DOC_OUT QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "ndarray of float32, the shape of q.\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

#define QSLIM_DOC_REDUCTION(summary, result)                      \
  summary                                                         \
      "\n"                                                        \
      "\n"                                                        \
      "Parameters\n"                                              \
      "----------\n" QSLIM_DOC_X QSLIM_DOC_AXIS QSLIM_DOC_CONTEXT \
      "\n"                                                        \
      "Returns\n"                                                 \
      "-------\n" result                                          \
      "\n"                                                        \
      "\n"                                                        \
      "Raises\n"                                                  \
      "------\n" QSLIM_DOC_ARRAY_ERRORS

inline constexpr char kAbsMax[] = QSLIM_DOC_REDUCTION(
    "Return the largest magnitude of x, or of each channel.",
    "float, or ndarray of float32 of one per channel. NaN where x holds a NaN; 0 of no elements.");

inline constexpr char kMinMax[] =
    QSLIM_DOC_REDUCTION("Return the least and the largest element of x, or of each channel.",
                        "Two floats, or two ndarrays of float32 of one per channel. NaN where x holds a NaN. "
                        "Of no elements there is\n"
                        "neither: ValueError.");

inline constexpr char kSum[] = QSLIM_DOC_REDUCTION(
    "Return the sum of x, or of each channel, in float64 and in a fixed order.",
    "float, or ndarray of float64 of one per channel: the same bits for any number of threads.");

inline constexpr char kSumOfSquares[] = QSLIM_DOC_REDUCTION(
    "Return the sum of x * x, or of each channel, in float64 and in a fixed order.",
    "float, or ndarray of float64 of one per channel: the same bits for any number of threads.");

inline constexpr char kFilterSaliency[] =
    "Score the filters of a weight; pruning removes the smallest scores first.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "weight : ndarray of float32, C-contiguous\n"
    "criterion : {'l1_norm', 'l2_norm', 'fpgm', 'taylor'}\n"
    "    Mean of |w|; root of the sum of w**2; sum of the distances to all filters; (sum of w * "
    "gradient)**2.\n"
    "axis : int, default=0\n"
    "    The axis that counts the filters.\n"
    "gradient : ndarray of float32, the shape of weight, or None, default=None\n"
    "    Gradient of the loss with respect to weight: for 'taylor', and for nothing else.\n" QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "ndarray of float32 of shape (weight.shape[axis],), computed in float64 and rounded once.\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

inline constexpr char kHistogram[] =
    "Count the elements of x in bins of equal width, as numpy.histogram does.\n"
    "\n"
    "Parameters\n"
    "----------\n" QSLIM_DOC_X
    "bins : int, at least 1\n"
    "lo, hi : float, finite, lo < hi\n"
    "    The range; the last bin holds hi. Elements outside of it and NaN are not "
    "counted.\n" QSLIM_DOC_CONTEXT
    "\n"
    "Returns\n"
    "-------\n"
    "counts : ndarray of uint64 of shape (bins,)\n"
    "edges : ndarray of float32 of shape (bins + 1,)\n"
    "\n"
    "Raises\n"
    "------\n" QSLIM_DOC_ARRAY_ERRORS;

#undef QSLIM_DOC_X
#undef QSLIM_DOC_GRAD
#undef QSLIM_DOC_SCALE
#undef QSLIM_DOC_RANGE
#undef QSLIM_DOC_AXIS
#undef QSLIM_DOC_ROUNDING
#undef QSLIM_DOC_OUT
#undef QSLIM_DOC_CONTEXT
#undef QSLIM_DOC_ARRAY_ERRORS
#undef QSLIM_DOC_REDUCTION

}  // namespace qslim::python::doc
