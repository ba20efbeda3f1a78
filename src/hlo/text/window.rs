//! Windows and convolution labels: `{size=3x3 stride=2x1 pad=1_2x0_1}`, `b01f_01io->b01f`.

use super::super::proto::{ConvolutionDimensionNumbers, PaddingConfig, Window, WindowDimension};

/// The text of a window, in braces.
pub(super) fn window(window: &Window) -> String {
    let each = |show: &dyn Fn(&WindowDimension) -> String| {
        let parts: Vec<String> = window.dimensions.iter().map(show).collect();
        parts.join("x")
    };
    let any = |unusual: &dyn Fn(&WindowDimension) -> bool| window.dimensions.iter().any(unusual);
    let mut text = format!("size={}", each(&|d| d.size.to_string()));
    if any(&|d| d.stride != 1) {
        text += &format!(" stride={}", each(&|d| d.stride.to_string()));
    }
    if any(&|d| d.padding_low != 0 || d.padding_high != 0) {
        let pads = each(&|d| format!("{}_{}", d.padding_low, d.padding_high));
        text += &format!(" pad={pads}");
    }
    if any(&|d| d.base_dilation != 1) {
        text += &format!(" lhs_dilate={}", each(&|d| d.base_dilation.to_string()));
    }
    if any(&|d| d.window_dilation != 1) {
        text += &format!(" rhs_dilate={}", each(&|d| d.window_dilation.to_string()));
    }
    if any(&|d| d.window_reversal) {
        let flags = each(&|d| u8::from(d.window_reversal).to_string());
        text += &format!(" rhs_reversal={flags}");
    }
    format!("{{{text}}}")
}

/// `1_2x0_1_3`: low and high of each dimension, and interior if there is any.
pub(super) fn padding(padding: &PaddingConfig) -> String {
    let parts: Vec<String> = padding
        .dimensions
        .iter()
        .map(|d| {
            let ends = format!("{}_{}", d.edge_padding_low, d.edge_padding_high);
            match d.interior_padding {
                0 => ends,
                interior => format!("{ends}_{interior}"),
            }
        })
        .collect();
    parts.join("x")
}

/// Each operand's and the result's dimensions by role: `b` batch, `f` feature, `i` and `o` the kernel's input and
/// output features, a number for each spatial dimension.
pub(super) fn dim_labels(numbers: &ConvolutionDimensionNumbers) -> String {
    let labels = |special: [(char, i64); 2], spatial: &[i64]| {
        let mut labels = vec!["?".to_string(); 2 + spatial.len()];
        let spatial = spatial.iter().enumerate();
        let all = special
            .into_iter()
            .map(|(label, dimension)| (label.to_string(), dimension))
            .chain(spatial.map(|(i, &dimension)| (i.to_string(), dimension)));
        for (label, dimension) in all {
            if let Some(slot) = usize::try_from(dimension)
                .ok()
                .and_then(|dimension| labels.get_mut(dimension))
            {
                *slot = label;
            }
        }
        labels.concat()
    };
    let n = numbers;
    format!(
        "{}_{}->{}",
        labels(
            [
                ('b', n.input_batch_dimension),
                ('f', n.input_feature_dimension)
            ],
            &n.input_spatial_dimensions
        ),
        labels(
            [
                ('i', n.kernel_input_feature_dimension),
                ('o', n.kernel_output_feature_dimension)
            ],
            &n.kernel_spatial_dimensions
        ),
        labels(
            [
                ('b', n.output_batch_dimension),
                ('f', n.output_feature_dimension)
            ],
            &n.output_spatial_dimensions
        ),
    )
}
