/** What a shop may do beside its tag: open the chat with a question about a product, and hear what the visitor does in it. */
for (const button of document.querySelectorAll('.ask')) {
  button.addEventListener('click', () => {
    window.Frontdesk('context', { product: button.dataset.product });
    window.Frontdesk('prefill', button.dataset.question);
  });
}

document.addEventListener('frontdesk:event', ({ detail }) => {
  const bag = document.getElementById('bag');
  if (detail.name === 'add_to_cart') bag.value = String(Number(bag.value) + 1);
});
