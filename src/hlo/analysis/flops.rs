//! Floating-point operations of matrix products and convolutions, as the hardware executes them.

use super::super::module::Instruction;
use super::super::proto::{ShapeProto, WindowDimension};
use super::Index;

/// Multiplies and adds of one instruction on one device; 0 for anything but a dot or a convolution.
pub(super) fn flops(index: &Index, computation: i64, instruction: &Instruction) -> f64 {
    let operand = |number| index.operand_shape(computation, instruction, number);
    let products = match instruction.opcode.as_str() {
        "dot" => operand(0).and_then(|left| dot(instruction, left)),
        "convolution" => operand(0)
            .zip(operand(1))
            .and_then(|(input, kernel)| convolution(instruction, input, kernel)),
        _ => None,
    };
    2.0 * products.unwrap_or(0.0)
}

/// One product for each element of the result and each contracted one.
fn dot(instruction: &Instruction, left: &ShapeProto) -> Option<f64> {
    let numbers = instruction.dot_dimension_numbers()?;
    let mut products: f64 = sizes(instruction.shape.as_deref()?).product();
    for &dimension in &numbers.lhs_contracting_dimensions {
        products *= size(left, dimension)?;
    }
    Some(products)
}

/// One product for each batch element, output feature and input feature of a group, and for each place where an
/// output position and a kernel position meet a real input element: neither padding nor a gap of a dilated input.
/// The TPU compiler writes batched dots as such convolutions, whose padding would otherwise be counted as work.
fn convolution(instruction: &Instruction, input: &ShapeProto, kernel: &ShapeProto) -> Option<f64> {
    let numbers = instruction.convolution_dimension_numbers()?;
    let result = instruction.shape.as_deref()?;
    let mut products = size(result, numbers.output_batch_dimension)?
        * size(result, numbers.output_feature_dimension)?
        * size(kernel, numbers.kernel_input_feature_dimension)?;
    let window = instruction.window();
    for (i, window) in window.into_iter().flat_map(|w| &w.dimensions).enumerate() {
        let input = size(input, *numbers.input_spatial_dimensions.get(i)?)?;
        let output = size(result, *numbers.output_spatial_dimensions.get(i)?)?;
        products *= meetings(window, input as i64, output as i64)?;
    }
    Some(products)
}

/// The largest plausible size; beyond it the file is broken.
const MOST_POSITIONS: i64 = 1 << 31;

/// Positions examined before a convolution is skipped, so no module can take long.
const MOST_STEPS: i64 = 1 << 26;

/// How many pairs of an output and a kernel position fall on an input element, along one dimension.
fn meetings(window: &WindowDimension, input: i64, output: i64) -> Option<f64> {
    let sizes = [
        window.size,
        window.stride,
        window.base_dilation,
        window.window_dilation,
        window.padding_low.saturating_abs(),
        input,
        output,
    ];
    if sizes
        .iter()
        .any(|size| !(0..=MOST_POSITIONS).contains(size))
    {
        return None;
    }
    let (stride, dilation) = (window.stride.max(1), window.base_dilation.max(1));
    if window.size.saturating_mul(dilation.min(output)) > MOST_STEPS {
        return None;
    }
    let extent = (input - 1) * dilation + 1;
    let mut count = 0;
    for kernel in 0..window.size {
        // Output `o` sees input position `o * stride + shift`, in the dilated input.
        let shift = kernel * window.window_dilation.max(1) - window.padding_low;
        let first = (-shift).max(0).div_euclid(stride) + i64::from((-shift).max(0) % stride != 0);
        let last = (extent - 1 - shift).div_euclid(stride).min(output - 1);
        // The outputs that see an element, not a gap, repeat after `dilation` at the latest.
        let on_input = |o: &i64| (o * stride + shift) % dilation == 0;
        let mut seen = (first..=last.min(first + 2 * dilation - 1)).filter(on_input);
        if let Some(one) = seen.next() {
            let period = seen.next().map_or(dilation, |next| next - one);
            count += (last - one) / period + 1;
        }
    }
    Some(count as f64)
}

fn sizes(shape: &ShapeProto) -> impl Iterator<Item = f64> {
    shape.dimensions.iter().map(|&size| size as f64)
}

fn size(shape: &ShapeProto, dimension: i64) -> Option<f64> {
    let dimension = usize::try_from(dimension).ok()?;
    shape.dimensions.get(dimension).map(|&size| size as f64)
}
